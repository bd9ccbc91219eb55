"""Where a partition is read on after it has been taken over."""

from __future__ import annotations

import logging

from aiokafka import TopicPartition

from streams.engine.fetch import RecordsLostError
from streams.engine.restore import Position

log = logging.getLogger(__name__)


def start_offset(
    source: TopicPartition, position: Position | None, committed: int | None, begin: int, end: int
) -> int:
    """Where to read on: from the state's position, unless the group's offset was moved past it on purpose.

    Raises RecordsLostError when the log does not hold that offset.
    """
    where = f"{source.topic} partition {source.partition}"
    if position is None:
        start = begin if committed is None else committed
        if committed is not None:
            log.warning(
                "%s: the group is at offset %d, but there is no state: calls begun before are unknown",
                where,
                start,
            )
    elif committed is not None and committed > position.next_offset:
        start = committed
        log.warning(
            "%s: the group was moved from offset %d to %d: %d records are skipped; `telefonie status` counts them "
            "until `telefonie status --accept-skipped`",
            where,
            position.next_offset,
            committed,
            committed - position.next_offset,
        )
    else:
        start = position.next_offset
        if committed is not None and committed < start:
            log.warning(
                "%s: the group was moved back to offset %d, but what lies before %d is in the state already "
                "and is not applied again",
                where,
                committed,
                start,
            )
    if not begin <= start <= end:
        raise RecordsLostError(
            f"{where}: the next offset to read is {start}, the log holds {begin} to {end}: "
            f"{_loss(position, start, begin, end)}. To go on without what is lost, move the group to an offset that "
            "exists, or use another TELEFONIE_APP_ID"
        )
    return start


def _loss(position: Position | None, start: int, begin: int, end: int) -> str:
    """Why the log does not hold the offset `start`, as far as it is known."""
    if start < begin:
        return f"{begin - start} records were removed before they were read"
    if position is not None and position.next_offset <= end:
        return f"the group was moved {start - end} past the end of the log"
    if position is not None and position.topic:  # and it is the same topic, or we were not here
        return f"the log has lost its last {start - end} records, as in an unclean leader election"
    return "the group was moved past the end of the log, or the topic was deleted and created again"
