"""The store on disk: what it keeps, and what it does not trust."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.engine import store as module
from streams.engine.store import OLDEST, Changelog, Store, StoreError, Stores

LOG = Changelog(b"changelog-id-16b", 10, 1_000)
NOW = 1_764_000_000_000


def filled(directory: Path, at: int = NOW) -> None:
    store = Store(directory, LOG, NOW)
    store.write([(b"a", b"1"), (b"b", b"2"), (b"bb", b"3"), (b"c", b"4")], 500, b"position", at)
    store.write([(b"a", None)], 501, b"position", at)
    store.close()


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    filled(tmp_path / "0")
    store = Store(tmp_path / "0", LOG, NOW + 1)
    assert store.reached is not None
    assert (store.reached.next_offset, store.reached.position) == (501, b"position")
    assert (store.get(b"a"), store.get(b"b"), store.get(b"!checkpoint")) == (None, b"2", None)
    assert list(store.scan(b"a", b"c")) == [(b"b", b"2"), (b"bb", b"3")]
    assert list(store.scan(b"c", b"\xff")) == [(b"c", b"4")]
    store.close()


def test_a_killed_process_leaves_what_it_had_written(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from streams.engine.store import Changelog, Store
store = Store(Path({str(tmp_path / "0")!r}), Changelog(b"changelog-id-16b", 0, 1), {NOW})
store.write([(b"a", b"1")], 1, None, {NOW})
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
    store = Store(tmp_path / "0", Changelog(b"changelog-id-16b", 0, 1), NOW)
    assert store.get(b"a") == b"1"
    store.close()


def truncate(directory: Path) -> None:
    for file in directory.glob("MANIFEST*"):
        os.truncate(file, 10)


def spoil(directory: Path) -> None:
    (directory / "CURRENT").write_text("nothing of the kind\n")


def older_version(directory: Path) -> None:
    store = Store(directory, LOG, NOW)
    store._db.put(module._REACHED, module._encode(module.StorePosition(501, LOG.topic, None, NOW, version=0)))
    store.close()


def unreadable(directory: Path) -> None:
    store = Store(directory, LOG, NOW)
    store._db.put(module._REACHED, b"\xc1")
    store.close()


@pytest.mark.parametrize(
    ("spoiled", "opened", "why"),
    [
        (truncate, (LOG, NOW), "Corruption"),
        (spoil, (LOG, NOW), "Corruption"),
        (older_version, (LOG, NOW), "version 0"),
        (unreadable, (LOG, NOW), "MessagePack"),
        (None, (LOG._replace(topic=b"another-id-16byt"), NOW), "another changelog"),
        (None, (LOG._replace(end=500), NOW), "which holds 10 to 500"),
        (None, (LOG._replace(begin=502), NOW), "which holds 502 to 1000"),
        (None, (LOG, NOW + 2 * OLDEST), "2.0 hours ago"),
        (None, (LOG, NOW - 1), "hours ago"),
    ],
)
def test_a_store_that_cannot_be_trusted_starts_over_and_says_why(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    spoiled: Callable[[Path], None] | None,
    opened: tuple[Changelog, int],
    why: str,
) -> None:
    filled(tmp_path / "0")
    if spoiled:
        spoiled(tmp_path / "0")
    with caplog.at_level(logging.WARNING):
        store = Store(tmp_path / "0", *opened)
    assert (store.reached, store.get(b"b")) == (None, None)
    assert why in caplog.text
    assert "is rebuilt from the changelog" in caplog.text
    store.close()


def test_a_store_that_failed_is_not_used_again(tmp_path: Path) -> None:
    filled(tmp_path / "0")
    store = Store(tmp_path / "0", LOG, NOW)
    store.close()
    with pytest.raises(StoreError, match="is then rebuilt"):
        store.get(b"b")
    again = Store(tmp_path / "0", LOG, NOW)
    assert again.reached is None
    again.close()


def test_where_nothing_can_be_written_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="TELEFONIE_DATA_DIR"):
        Stores(tmp_path / "file", "worker")
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "0").touch()
    with pytest.raises(StoreError, match="TELEFONIE_DATA_DIR"):
        Stores(tmp_path, "worker").open(0, LOG, NOW)


def test_each_worker_has_a_directory_to_itself(tmp_path: Path) -> None:
    first, second = Stores(tmp_path, "calls/0"), Stores(tmp_path, "calls/0")
    assert first.directory != second.directory
    assert {first.directory.parent, second.directory.parent} == {tmp_path}
    os.close(first._lock)
    assert Stores(tmp_path, "calls/0").directory == first.directory


def test_stores_of_partitions_that_went_elsewhere_are_removed_in_time(tmp_path: Path) -> None:
    stores = Stores(tmp_path, "worker")
    for number in range(3):
        stores.open(number, LOG, NOW).close()
    old = time.time() - 2 * OLDEST / 1000
    for number in (0, 1):
        for file in (stores.directory / str(number)).iterdir():
            os.utime(file, (old, old))
    stores.clean([0])
    assert {each.name for each in stores.directory.iterdir()} == {"0", "2", "lock"}
