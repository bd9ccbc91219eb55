"""The state of a worker at one moment, as the metrics want to know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class PartitionSample(NamedTuple):
    """One assigned partition of the topic whose events are applied, at this moment."""

    number: int
    #: The offset from which a successor would continue; None until it is known, like the next field.
    committed: int | None
    #: The end of the log: the high watermark.
    end: int | None
    #: Records of the changelog not yet restored.
    recovery_remaining: int
    #: Calls remembered, open and closed.
    calls: int
    #: Epoch ms; negative before the first record.
    stream_time: int
    #: Epoch ms of the last commit by this worker; None before it.
    committed_at: int | None = None
    #: Records before `end` that are behind an open transaction; None while it is unknown.
    hidden: int | None = None
    #: Records past which the group was moved, and which nobody has accepted.
    skipped: int | None = None


class Reached(NamedTuple):
    """How far an assigned partition of any topic is committed, as in `PartitionSample`."""

    topic: str
    number: int
    committed: int | None
    end: int | None
    committed_at: int | None
    hidden: int | None = None
    skipped: int | None = None


class Sample(NamedTuple):
    """What a worker holds at this moment."""

    #: Open calls by status; a status without any may be missing. None before they have been counted.
    open_calls: Mapping[str, int] | None
    #: Event time (epoch ms) of the first event of the oldest open call; None without one.
    oldest_open: int | None
    partitions: Sequence[PartitionSample]
    #: Partitions of the topic whose events are applied; None until it is known.
    of: int | None = None
    #: If events are repartitioned: the partitions of the calls topic.
    upstream: Sequence[Reached] = ()
    #: Seconds by which this machine's clock is ahead of the brokers'; None until their time is known.
    clock_offset: float | None = None


class SampleSource(Protocol):
    """Provides what the worker holds; called once per scrape."""

    def sample(self) -> Sample:
        """The state at this moment; called on the event loop, which it blocks."""
