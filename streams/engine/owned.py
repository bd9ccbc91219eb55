"""A partition of the source that is ours: its state, and how far that is."""

from __future__ import annotations

import time

from aiokafka.structs import OffsetAndMetadata

from streams.engine.processor import Processor
from streams.engine.restore import Position
from streams.engine.store import Store


class OwnedPartition:
    """A partition that is ours, restored."""

    def __init__(
        self, processor: Processor, number: int, next_offset: int, store: Store | None = None
    ) -> None:
        self.processor, self.number, self.store = processor, number, store
        #: The first offset that is not in the state; and not in what is committed.
        self.next_offset = self.committed = next_offset
        #: The metadata of the group's offset: whose commit it is. None: as there was none.
        self.note: str | None = None
        #: See `Position`.
        self.skipped = self.skipped_to = 0
        #: The group's offset or the state does not say yet where we read on, or what was skipped; and is to say it now.
        self.begins = self.unsaid = False
        #: The idle clock has moved the state's time, and no commit has said so yet.
        self.clock_moved = False
        #: Records and bytes that wait for a commit, as the engine has last seen them.
        self.pending = (0, 0)
        #: monotonic: when the last record came, and since when something waits for a commit (None: nothing does).
        self.heard_at = time.monotonic()
        self.waiting_since: float | None = None
        #: Epoch ms of the last commit; None before the first.
        self.committed_at: int | None = None

    @property
    def dirty(self) -> bool:
        """Whether there is something to commit."""
        return (
            self.next_offset > self.committed or self.clock_moved or self.unsaid or self.processor.pending > 0
        )

    def begin(self, position: Position | None, committed: int | None) -> None:
        """Count what lies between the state and where we begin; `committed` is the group's offset."""
        if position is not None:
            self.skipped, self.skipped_to = position.skipped, position.skipped_to
            if self.next_offset > position.next_offset:
                self.skipped += self.next_offset - position.next_offset
                self.skipped_to = self.next_offset
        # A partition that never had a record gets an offset too, or a scaler by lag counts what was deleted from it.
        self.begins = position is None or committed != self.next_offset or self.skipped != position.skipped

    def close_store(self) -> None:
        """Let go of what lies on disk, if anything does."""
        if self.store is not None:
            self.store.close()

    def is_of(self, place: OffsetAndMetadata | None) -> bool:
        """Whether the group's place is the last commit of this state; None: the group has none."""
        if self.dirty:
            return False
        if place is None:
            return self.note is None
        return (place.offset, place.metadata) == (self.committed, self.note)
