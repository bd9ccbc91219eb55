"""What a comparison moves to disk when it does not fit into memory."""

import errno

import pytest

from streams.errors import OperatorError
from streams.operations.replay import spill
from streams.operations.replay.spill import Spill


def test_entries_of_a_key_come_back_together_and_in_order() -> None:
    made = Spill()
    for n in range(20_000):
        made.put(b"%d" % (n % 500), b"%d/%d" % (n % 500, n) + b"x" * 500)
    parts = [[entry.rstrip(b"x").split(b"/") for entry in part] for part in made.parts()]
    made.close()
    found = [(int(key), int(n)) for part in parts for key, n in part]
    assert sorted(n for _, n in found) == list(range(20_000))
    by_key = {key: [n for each, n in found if each == key] for key in range(0, 500, 50)}
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    homes = [{key for key, _ in part} for part in parts]
    assert sum(len(keys) for keys in homes) == 500, "a key lies in two parts"


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, **_: object) -> None:
            pass

        def write(self, _: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spill, "SpooledTemporaryFile", Full)
    with pytest.raises(OperatorError, match=r"needs more room in .* \(No space left on device\): set TMPDIR"):
        Spill().put(b"key", b"entry")
