"""The part of one partition that was replayed, and what can therefore be judged."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, TypeAlias

from msgspec import Struct, field

from streams.calls.counted import UNKNOWN_COUNTRY
from streams.calls.times import elapsed, instant
from streams.codecs import ClosedBy, Source

UNKNOWN: Final = "~"
"""A horizon after every moment."""

WindowPlace: TypeAlias = tuple[str, str, str]
"""Start, direction and country of a KPI window."""


class Completed(Struct):
    """What of a CompletedCall tells where it belongs."""

    id: str
    revision: int
    direction: str
    closed_by: ClosedBy
    closed_at: str
    timeline: dict[str, str]
    source: Source
    to_country: str | None = None

    @property
    def begun(self) -> str:
        """The earliest event time of the call."""
        return min(self.timeline.values(), default="")

    def window(self, width: int) -> WindowPlace:
        """The KPI window that counts it, with a width in ms."""
        closed_at = int(elapsed("1970-01-01T00:00:00Z", self.closed_at) // 1000)
        return instant(closed_at - closed_at % width), self.direction, self.to_country or UNKNOWN_COUNTRY


class Extent(Struct):
    """Moments are RFC 3339 texts as `instant` writes them, so that they compare as texts; "" is before all of them."""

    #: The first and the last offset, by partition of the calls topic; nothing in between is left out.
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    #: A call that began at or before this moment may have events before the log that was read; "" if none has.
    horizon: str = ""
    #: Stream time where the output begins, and at the end.
    begun: str = ""
    reached: str = ""
    #: A window that ended before this moment is no longer amended.
    settled: str = ""
    #: Whether the log continues after what was replayed: the workers may have amended more.
    goes_on: bool = False
    #: The ids of the calls that are open at its end: if their timeout closed them, it did so later.
    open: Collection[bytes] = ()
    #: The windows that such a timeout counts in, by their start.
    due: set[str] = field(default_factory=set)
    #: The windows with a call that may have events before the log.
    partial: set[WindowPlace] = field(default_factory=set)
    #: Records before this moment were removed from the topic of completed calls, or of KPI windows; "" for none.
    removed: dict[str, str] = field(default_factory=dict)

    def cover(self, records: Iterable[Source]) -> None:
        """Add records, by their place in the calls topic."""
        offsets = self.offsets
        for source in records:
            first, _ = offsets.get(source.partition, (source.offset, 0))
            offsets[source.partition] = first, source.offset

    def causes(self, call: Completed) -> bool:
        """Whether a replay must come to this revision too."""
        first, last = self.offsets.get(call.source.partition, (0, -1))
        is_later = call.closed_by == "timeout" and call.id.encode() in self.open
        return first <= call.source.offset <= last and not is_later

    def has_all_of(self, begun: str) -> bool:
        """Whether all events of a call that began then are in the log that was read."""
        return not self.horizon or begun > self.horizon

    def end(self, stream_time: int, retention: int, dues: Iterable[int], width: int) -> None:
        """All is read. `dues` are when open calls would time out; times in ms, `width` that of a window."""
        self.reached, self.settled = instant(stream_time), instant(stream_time - retention)
        self.due = {instant(due - due % width) for due in dues}

    def gone(self, first_time: int | None) -> list[str]:
        """What retention has removed of the outputs of a range that begins with that timestamp (epoch ms)."""
        first = "" if first_time is None else instant(first_time)
        return [
            f"the topic of {kind} no longer keeps what was published up to "
            f"{'now' if moment == UNKNOWN else moment}"
            for kind, moment in self.removed.items()
            if first and first < moment
        ]
