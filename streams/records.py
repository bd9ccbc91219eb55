"""What Kafka carries, as the engine, the domain and the codecs hand it to one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol, TypeAlias

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]
"""Names and values. Bytes of a name that are not UTF-8 are in it as Python's `surrogateescape` makes them."""

Record: TypeAlias = tuple[int, int, bytes | None, bytes | None, Headers]
"""Of the log: offset, timestamp (epoch ms; -1: none), key, value, headers."""

Output: TypeAlias = tuple[bytes | None, bytes | None, int, list[tuple[str, bytes | None]]]
"""To publish: key, value, timestamp (epoch ms; -1: none; `NOW`), headers (a list: the record builder wants one)."""

NOW: Final = -2
"""The timestamp of an output that gets the wall clock at the moment of writing."""

Row: TypeAlias = tuple[bytes, bytes | None]
"""Of the changelog: key, and value or tombstone. No key may begin with two bytes 0xff: those are the engine's."""


class LeftOut(bytes):
    """In the place of a value that is too large to be read: no bytes, and how many there were."""

    size: int

    def __new__(cls, size: int) -> LeftOut:
        """Of a value of `size` bytes."""
        stand_in = super().__new__(cls)
        stand_in.size = size
        return stand_in


class Rows(Protocol):
    """What a partition keeps on the local disk, as of its last checkpoint, if the engine gives it a store.

    The rows of a checkpoint are there before the next one is taken. Raises OSError when the disk fails, which the
    domain must let through: no record is to blame.
    """

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    def scan(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values from `first` up to, without, `end`, in the order of their bytes."""
