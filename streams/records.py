"""Records as the engine, the domain and the codecs exchange them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol, TypeAlias

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]
"""Names and values. Bytes of a name that are not UTF-8 are represented as Python's `surrogateescape` does."""

Record: TypeAlias = tuple[int, int, bytes | None, bytes | None, Headers]
"""A record of the log: offset, timestamp (epoch ms; -1: none), key, value, headers."""

Output: TypeAlias = tuple[bytes | None, bytes | None, int, list[tuple[str, bytes | None]]]
"""A record to publish: key, value, timestamp (epoch ms; -1: none; `NOW`), headers (a list, as the record builder
requires)."""

NOW: Final = -2
"""The timestamp of an output that gets the wall clock at the time of writing."""

Row: TypeAlias = tuple[bytes, bytes | None]
"""A changelog row: key, and value or tombstone. No key may begin with two bytes 0xff, which are reserved for the
engine."""


class LeftOut(bytes):
    """Stands for a value that is too large to be read: no bytes, but their number."""

    size: int

    def __new__(cls, size: int) -> LeftOut:
        """Stand for a value of `size` bytes."""
        stand_in = super().__new__(cls)
        stand_in.size = size
        return stand_in


class Rows(Protocol):
    """What a partition keeps on the local disk, at its last checkpoint, if the engine gives it a store.

    The rows of a checkpoint are there before the next one is taken. Raises OSError if the disk fails, which the domain
    must pass on: no record is to blame.
    """

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    def scan(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values from `first` (included) to `end` (excluded), in byte order."""
