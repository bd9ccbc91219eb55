"""Records that somebody moved the group past, and that nobody has accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from streams.engine.restore import is_note
from streams.engine.skipped import acceptances
from streams.kafka import reading
from streams.operations.committed import Stage, committed_offsets, committed_stages
from streams.settings import Settings


class Skipped(NamedTuple):
    """The records in a partition past which the group was moved."""

    records: int
    #: Where the last of them ends.
    to: int


def skipped_records(
    stages: Iterable[Stage], committed: Mapping[TopicPartition, OffsetAndMetadata]
) -> dict[TopicPartition, Skipped]:
    """The records past which the group was moved, including those that no worker has noticed yet, because none has run
    since."""
    found = {}
    for config, points in stages:
        for number, (position, *_) in points.items():
            log = TopicPartition(config.source, number)
            records, to, place = position.skipped, position.skipped_to, committed.get(log)
            # An offset that a worker commits is ahead only of a position that was read just before it.
            if place and place.offset > position.next_offset and not is_note(place.metadata):
                records, to = records + place.offset - position.next_offset, place.offset
            if records:
                found[log] = Skipped(records, to)
    return found


async def not_accepted(
    settings: Settings, skipped: Mapping[TopicPartition, Skipped]
) -> dict[TopicPartition, int]:
    """How many of the skipped records nobody has accepted."""
    accepted = await committed_offsets(settings, acceptances(settings.app_id)) if skipped else {}
    return {
        log: records
        for log, (records, to) in skipped.items()
        if log not in accepted or accepted[log].offset < to
    }


async def accept_skipped(settings: Settings) -> None:
    """Accept the records past which the group has been moved so far; workers take this over into the state.

    Raises OperatorError as `status` does.
    """
    async with reading.reader(settings) as consumer:
        stages = await committed_stages(settings, consumer)
        skipped = skipped_records(stages, await committed_offsets(settings, settings.app_id))
    if not skipped:
        return
    async with reading.reader(settings, group_id=acceptances(settings.app_id)) as consumer:
        consumer.assign(list(skipped))
        await consumer.commit({log: to for log, (_, to) in skipped.items()})
