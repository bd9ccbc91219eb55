"""Which part of the log: bounds as people give them, and the offsets that they mean in each partition."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from aiokafka import TopicPartition
from msgspec import Meta, Struct

from streams import reading

Bound: TypeAlias = tuple[Literal["offset", "time"], int]
"""An offset, or the first record stamped at or after a moment (epoch ms)."""

_Instant = Annotated[datetime, Meta(tz=True)]


def bound(text: str) -> Bound:
    """A bound as it is written: an offset in decimal or an RFC 3339 time. Raises ValueError for anything else."""
    if text.isascii() and text.isdigit():
        return "offset", int(text)
    moment = msgspec.convert(text, _Instant, strict=False)
    return "time", int(moment.timestamp() * 1000)


class Span(Struct):
    """The offsets of one partition that are replayed, `end` excluded; reading begins at `warm_up`."""

    partition: int
    warm_up: int
    start: int
    end: int


@dataclass(frozen=True)
class Range:
    """What is to be replayed. Without bounds it is all that the log holds; `warm_up` (ms) goes with a time."""

    start: Bound | None = None
    end: Bound | None = None
    partitions: Collection[int] = ()
    warm_up: int = 0


async def resolve(consumer: Any, topic: str, wanted: Range) -> dict[TopicPartition, Span]:
    """The offsets that a range means now. Bounds outside of the log mean its ends; an open transaction ends it.

    Raises OperatorError when the topic or one of the partitions does not exist.
    """
    logs = await reading.chosen(consumer, topic, wanted.partitions)
    there = await reading.whole(consumer, logs)
    starts = await _offsets(consumer, there, wanted.start, 0)
    warm_ups = starts
    if wanted.start is not None and wanted.start[0] == "time":
        warm_ups = await _offsets(consumer, there, ("time", max(0, wanted.start[1] - wanted.warm_up)), 0)
    ends = await _offsets(consumer, there, wanted.end, 1)
    # A record with an early timestamp may lie late in the log.
    return {
        log: Span(log.partition, min(warm_ups[log], starts[log]), starts[log], max(starts[log], ends[log]))
        for log in logs
    }


async def _offsets(
    consumer: Any, there: dict[TopicPartition, tuple[int, int]], given: Bound | None, default: int
) -> dict[TopicPartition, int]:
    if given is None:
        return {log: bounds[default] for log, bounds in there.items()}
    kind, value = given
    if kind == "offset":
        found = dict.fromkeys(there, value)
    else:
        times = await consumer.offsets_for_times(dict.fromkeys(there, value))
        found = {log: place.offset if place else there[log][1] for log, place in times.items()}
    return {log: min(max(found[log], first), last) for log, (first, last) in there.items()}
