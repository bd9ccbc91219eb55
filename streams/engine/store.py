"""State on a local disk (RocksDB): a copy of what the changelog says, so that a restart reads only its tail.

It is written after each commit and never trusted further than that: what it holds is the state up to its position,
a place in the changelog, and whatever is wrong with it, it is thrown away and rebuilt from the changelog.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import quote

import msgspec
from msgspec import Struct

from streams.errors import OperatorError
from streams.records import Row

if TYPE_CHECKING:
    from rocksdict import Cache, Options, Rdict

log = logging.getLogger(__name__)

#: Of the position and all that lies beside it; another one's store is rebuilt.
VERSION = 1
#: Milliseconds: half of `delete.retention.ms`, for which Kafka keeps a tombstone. An older store could have missed one.
OLDEST = 3_600_000
#: Bytes that RocksDB gathers in memory, of each partition, before it writes a file; there may be two such buffers.
_WRITE_BUFFER = 16 << 20
#: Bytes that it keeps of all files of a worker.
_CACHE = 64 << 20
#: The key of the position; those of the processor begin with `_OURS`.
_REACHED, _OURS = b"!checkpoint", b"."
_BROKEN = "broken"


class StoreError(OperatorError, OSError):
    """The disk, or what lies on it: the message names the directory and what to do."""


class StorePosition(Struct, array_like=True):
    """Up to where in the changelog a store goes."""

    #: The next offset of the changelog.
    next_offset: int
    #: Of the changelog: Kafka's id of it.
    changelog: bytes
    #: The last position row (`restore.Position`, encoded) that is in the store; None before the first.
    position: bytes | None
    #: Epoch ms when it was written.
    at: int
    version: int = VERSION


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StorePosition).decode


class Changelog(NamedTuple):
    """The partition of the changelog whose copy a store is: Kafka's id of the topic, and where it begins and ends."""

    topic: bytes
    begin: int
    end: int


class Store:
    """The rows of one partition's processor, in a directory of its own."""

    def __init__(self, directory: Path, changelog: Changelog, now: int) -> None:
        """Open it, or create it again when it is not of this changelog, too old at `now` (epoch ms) or broken.

        Raises StoreError when that is impossible too.
        """
        self.directory, self._changelog = directory, changelog
        #: None: nothing has been written yet.
        self.reached: StorePosition | None
        self._db, self.reached = self._opened(now)

    def _opened(self, now: int) -> tuple[Rdict, StorePosition | None]:
        if self.directory.exists():
            try:
                return _open(self.directory, self._changelog, now)
            except _UselessError as useless:
                log.warning("the store in %s is rebuilt from the changelog: %s", self.directory, useless)
                shutil.rmtree(self.directory, ignore_errors=True)
        try:
            return _open(self.directory, self._changelog, now)
        except _UselessError as error:
            raise StoreError(
                f"no store can be made in {self.directory}: {error}. Give TELEFONIE_DATA_DIR a directory that can be "
                "written to, with room enough"
            ) from error

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        try:
            value: bytes | None = self._db.get(_OURS + key)
        except Exception as error:
            raise self._failed(error) from error
        return value

    def scan(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values from `first` up to, without, `end`, in the order of their bytes."""
        stop = _OURS + end
        try:
            rows = cast(Iterator[tuple[bytes, bytes]], self._db.items(from_key=_OURS + first))
            for key, value in rows:
                if key >= stop:
                    return
                yield key[len(_OURS) :], value
        except Exception as error:
            raise self._failed(error) from error

    def write(self, rows: Sequence[Row], next_offset: int, position: bytes | None, now: int) -> None:
        """Take rows over, all or none of them, with their position; `now` is the wall clock (epoch ms)."""
        from rocksdict import WriteBatch

        reached = StorePosition(next_offset, self._changelog.topic, position, now)
        batch = WriteBatch(raw_mode=True)
        for key, value in rows:
            if value is None:
                batch.delete(_OURS + key)
            else:
                batch.put(_OURS + key, value)
        batch.put(_REACHED, _encode(reached))
        try:
            self._db.write(batch)
        except Exception as error:
            raise self._failed(error) from error
        self.reached = reached

    def close(self) -> None:
        """Let go of the directory."""
        self._db.close()

    def _failed(self, error: Exception) -> StoreError:
        """So that the next start does not meet it again."""
        with suppress(OSError):
            (self.directory / _BROKEN).touch()
        return StoreError(
            f"the store in {self.directory} failed: {error}. The state is safe in the changelog: see that the disk is "
            "in order and has room, and start again; the store is then rebuilt"
        )


class _UselessError(Exception):
    """A store that cannot be gone on with, and why."""


def _open(directory: Path, changelog: Changelog, now: int) -> tuple[Rdict, StorePosition | None]:
    """Raises _UselessError."""
    from rocksdict import Rdict

    if (directory / _BROKEN).exists():
        raise _UselessError("it failed before")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        db = Rdict(str(directory), _options())
    except Exception as error:
        raise _UselessError(str(error)) from error
    try:
        found = _checked(db, changelog, now)
    except BaseException:
        db.close()
        raise
    return db, found


def _checked(db: Rdict, changelog: Changelog, now: int) -> StorePosition | None:
    try:
        packed = db.get(_REACHED)
        found = None if packed is None else _decode(packed)
    except Exception as error:
        raise _UselessError(str(error)) from error
    if found is None:
        return None
    if found.version != VERSION:
        raise _UselessError(f"it is of version {found.version}, this program knows {VERSION}")
    if found.changelog != changelog.topic:
        raise _UselessError(
            "it belongs to another changelog topic, one that was deleted or of another cluster"
        )
    if not changelog.begin <= found.next_offset <= changelog.end:
        raise _UselessError(
            f"it goes to offset {found.next_offset} of the changelog, which holds {changelog.begin} to {changelog.end}"
        )
    if not 0 <= now - found.at <= OLDEST:
        raise _UselessError(f"it was last written {(now - found.at) / 3_600_000:.1f} hours ago")
    return found


def _options() -> Options:
    from rocksdict import BlockBasedOptions, DBCompressionType, Options

    blocks = BlockBasedOptions()
    # Most lookups are of calls that are not there. Filters stay out of the cache: one of them is larger than a shard of
    # it, and would be read again for every lookup.
    blocks.set_bloom_filter(10, False)
    blocks.set_block_cache(_cache())
    blocks.set_block_size(8 << 10)
    blocks.set_format_version(5)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_write_buffer_size(_WRITE_BUFFER)
    options.set_memtable_whole_key_filtering(True)
    options.set_memtable_prefix_bloom_ratio(0.1)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_max_background_jobs(2)
    options.set_max_open_files(512)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(1 << 20)
    options.set_stats_dump_period_sec(0)
    return options


@lru_cache(maxsize=1)
def _cache() -> Cache:
    from rocksdict import Cache

    return Cache(_CACHE)


class Stores:
    """The stores of one worker: a directory that no other process uses, with one store a partition."""

    def __init__(self, root: Path, name: str) -> None:
        """Claim the first free of the directories `name`, `name-1`, … under `root`; StoreError when none can be made.

        A worker that was paused, or has not ended yet, may hold its own: its successor does not wait for it.
        """
        name = quote(name, safe="")
        for number in count():
            self.directory = root / (f"{name}-{number}" if number else name)
            try:
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # there are phone numbers in it
                self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreError(
                    f"no store can be made in {self.directory}: {error.strerror}. Give TELEFONIE_DATA_DIR a directory "
                    "that can be written to"
                ) from error
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                os.close(self._lock)

    def open(self, partition: int, changelog: Changelog, now: int) -> Store:
        """The store of a partition; see `Store`."""
        return Store(self.directory / str(partition), changelog, now)

    def clean(self, owned: Collection[int]) -> None:
        """Remove stores of partitions that have been elsewhere for so long that they are of no use.

        `owned` are all that this worker has or is about to have: one that was quiet for long is not written to.
        """
        oldest = time.time() - OLDEST / 1000  # by our own clock, as the times of files are
        for store in self.directory.iterdir():
            if store.name.isdecimal() and int(store.name) not in owned and _written(store) < oldest:
                shutil.rmtree(store, ignore_errors=True)


def _written(directory: Path) -> float:
    """When a file in a directory was last written (epoch s); 0 without any. Files may vanish meanwhile."""
    last = 0.0
    for file in directory.iterdir():
        with suppress(OSError):
            last = max(last, file.stat().st_mtime)
    return last
