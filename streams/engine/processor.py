"""What the engine asks of the code it runs. It knows nothing else about it: another domain could stand here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from streams.records import Output, Record, Row

POSITION = b"\xff\xffposition"
"""Key of the changelog row that says how far the log is in the state; the engine's own."""


class Checkpoint(Protocol):
    """Everything that has changed in one partition since the checkpoint before, as one consistent point of the log."""

    @property
    def outputs(self) -> Mapping[str, Sequence[Output]]:
        """Records to publish, by the name under which the engine knows the topic."""

    @property
    def rows(self) -> Sequence[Row]:
        """Rows of the changelog."""

    @property
    def stored(self) -> Sequence[Row]:
        """Rows for the store, under keys of the processor's own; none without a store."""

    @property
    def partition_state(self) -> bytes:
        """The state that belongs to the partition as a whole, in no row; handed back with `ready`."""


class Processor(Protocol):
    """The state of one input partition, and what moves it. Nothing here may wait or block.

    It may not be part of a reference cycle: what has been restored is hidden from the garbage collector, which would
    otherwise look at every object of it again and again, and is freed by its reference count when it moves away.
    """

    @property
    def pending(self) -> int:
        """About how many records the next checkpoint writes: a measure of back-pressure."""

    @property
    def pending_bytes(self) -> int:
        """About how many bytes of memory wait for the next checkpoint: the other one."""

    def process(self, records: Sequence[Record], wall: int) -> int:
        """Apply records in log order; `wall` is the wall clock (epoch ms). Raising stops the worker.

        Returns how many have been applied, from the first one on. Fewer than given: much fell due. The engine then
        lets the event loop turn, commits if too much is pending, and calls again with the rest.
        """

    def settle(self) -> bool:
        """Do what is due at the point of time that the state has reached; True: a piece of it, and more is due."""

    def advance(self, wall: int) -> bool:
        """Move that point on to the wall clock, for a partition with nothing to read; False when it stays."""

    def checkpoint(self) -> Checkpoint:
        """Take what has changed since the last checkpoint."""

    def find(self, key: str) -> object | None:
        """The state under a key, to look it up."""

    def __len__(self) -> int:
        """How many keys the state has."""

    def restore(self, rows: Iterable[Row]) -> Sequence[Row]:
        """Take over rows of the changelog in log order, without the position; rows that it has already may come again.

        Returns rows for the store, which are there before the next call.
        """

    def ready(self, partition_state: bytes | None) -> Iterator[None]:
        """All rows are restored; `partition_state` is that of the last checkpoint, None without one.

        Works in pieces, between which the event loop turns; the state is ready once the iterator is exhausted.
        Raises ValueError when this is the state of another version, one that cannot be taken over.
        """
