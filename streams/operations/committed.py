"""What the group has committed: its offsets, and how far the state of each stage is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, cast

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from streams.calls.partition import CallsPartition
from streams.engine.clients import RETRY_SECONDS
from streams.engine.config import Config
from streams.engine.restore import (
    Position,
    RestoreTarget,
    bounds,
    is_note,
    read_position,
    restore,
    state_lost,
)
from streams.errors import OperatorError
from streams.kafka import reading
from streams.kafka.connecting import CONNECT_SECONDS, admin
from streams.kafka.reading import Progress
from streams.kafka.topics import ABSENT
from streams.settings import Settings
from streams.wiring import config_of, upstream_of

#: How many records at the changelog's end are first searched for the last position.
_TAIL: Final = 500


class Point(NamedTuple):
    """What a partition has committed last."""

    position: Position
    at: int | None
    #: Calls that are open, when they have been counted.
    open: int | None


Stage: TypeAlias = tuple[Config, Mapping[int, Point]]


async def committed_stages(settings: Settings, consumer: Any) -> list[Stage]:
    """What is read, one topic after the other, with its last positions. Raises OperatorError without a calls topic."""
    if not await reading.partitions(consumer, settings.calls_topic):
        raise OperatorError(f"topic {settings.calls_topic} {ABSENT}")
    return [
        (each, await _points(consumer, each, await reading.partitions(consumer, each.changelog)))
        for each in (upstream_of(settings), config_of(settings))
        if each is not None
    ]


async def require_state(
    consumer: Any,
    config: Config,
    points: Mapping[int, Point],
    promised: Mapping[TopicPartition, OffsetAndMetadata],
) -> None:
    """Raises StateLostError if an offset was committed together with state, but there is no state."""
    there = await reading.partitions(consumer, config.changelog)
    for log, place in promised.items():
        if log.topic != config.source or log.partition in points or not is_note(place.metadata):
            continue
        rows = [each for each in there if each.partition == log.partition]
        if rows:  # the end of a group's very first transaction may be visible here a moment later than there
            await bounds(config, consumer, [log.partition])
        if not await _points(consumer, config, rows):
            raise state_lost(config, log, place.offset)


async def _points(consumer: Any, config: Config, changelog: Iterable[TopicPartition]) -> dict[int, Point]:
    """The last position of each partition, looked for from the end in ever larger steps."""
    bounds = await reading.whole(consumer, changelog)
    found: dict[int, Point] = {}
    size = _TAIL
    while bounds:
        tails = {log: (max(first, end - size), end) for log, (first, end) in bounds.items()}
        async for batch in reading.read(consumer, tails):
            for _, timestamp, key, value, _ in batch.records:
                if key == config.position_key and value is not None:
                    found[batch.partition.partition] = Point(read_position(value), timestamp, None)
        bounds = {
            log: (first, end)
            for log, (first, end) in bounds.items()
            if log.partition not in found and tails[log][0] > first
        }
        size *= 16
    return found


async def recounted(
    consumer: Any, config: Config, points: Mapping[int, Point], progress: Progress
) -> dict[int, Point]:
    """The state of all partitions, restored as a worker would, and its open calls counted."""
    where = await bounds(config, consumer, points)
    targets = {number: RestoreTarget(config.processor(number, None), where[number]) for number in points}
    total = sum(target.end - target.start for target in targets.values())
    await restore(config, consumer, targets, lambda left: progress(total - sum(left.values()), total))
    return {
        number: Point(target.position, points[number].at, len(cast(CallsPartition, target.processor).open))
        for number, target in targets.items()
        if target.position is not None
    }


async def committed_offsets(settings: Settings, group: str) -> dict[TopicPartition, OffsetAndMetadata]:
    """The offsets that a group has committed, by partition."""
    async with admin(settings) as client:
        offsets = await _offsets(client, group)
    return {log: place for log, place in offsets.items() if place.offset >= 0}


async def _offsets(client: AIOKafkaAdminClient, group: str) -> Mapping[TopicPartition, OffsetAndMetadata]:
    """The offsets of a group. New brokers create the topic of offsets on the first request for some."""
    give_up = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            found: Mapping[TopicPartition, OffsetAndMetadata] = await client.list_consumer_group_offsets(
                group
            )
            return found
        except KafkaError as error:
            if not error.retriable or time.monotonic() > give_up:
                raise
            await asyncio.sleep(RETRY_SECONDS)
