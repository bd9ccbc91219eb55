"""Records behind an open transaction: written, and not readable before somebody ends it.

A read_committed consumer reads up to the last stable offset, the beginning of the oldest open transaction. What lies
behind it waits like any other record, so it counts in every lag, and is spoken of when it waits for long.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeAlias

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED

log = logging.getLogger(__name__)

#: Seconds for which a transaction may stay open without a warning, and between two warnings about it.
PATIENCE_SECONDS = 60.0
AGAIN_SECONDS = 600.0


class End(NamedTuple):
    """The end of a partition, as a fetch has found it."""

    #: The high watermark: the offset of the next record, readable or not.
    written: int
    #: The last stable offset: up to here a read_committed consumer reads.
    stable: int

    @property
    def hidden(self) -> int:
        """Offsets behind an open transaction."""
        return max(0, self.written - self.stable)


class Held(NamedTuple):
    """What one open transaction holds up."""

    records: int
    seconds: float


#: Offset of the transaction's first record, monotonic seconds since when it has been seen, offsets behind it.
_Open: TypeAlias = tuple[int, float, int]


class Hidden:
    """How long open transactions have been holding up the partitions of this worker."""

    def __init__(self) -> None:
        self._open: dict[TopicPartition, _Open] = {}
        self._warned_at: dict[TopicPartition, float] = {}

    def look(self, ends: Mapping[TopicPartition, End], now: float) -> None:
        """Take note of the ends as they are at `now` (monotonic seconds), and warn of what has been hidden for long."""
        former, self._open = self._open, {}
        for tp, end in ends.items():
            if not end.hidden:
                continue
            start, since, _ = former.get(tp, (-1, now, 0))
            self._open[tp] = end.stable, since if start == end.stable else now, end.hidden
        for tp in self._warned_at.keys() - self._open.keys():
            del self._warned_at[tp]
            if tp in ends:
                log.info(
                    "%s partition %d: no record is behind an open transaction any more",
                    tp.topic,
                    tp.partition,
                )
        for tp, (start, since, records) in self._open.items():
            is_due = now - self._warned_at.get(tp, -AGAIN_SECONDS) >= AGAIN_SECONDS
            if now - since >= PATIENCE_SECONDS and is_due:
                self._warned_at[tp] = now
                _warn(tp, start, records, now - since)

    def held(self, now: float) -> dict[TopicPartition, Held]:
        """What is held up at `now` (monotonic seconds), by partition."""
        return {tp: Held(records, now - since) for tp, (_, since, records) in self._open.items()}


def _warn(tp: TopicPartition, start: int, records: int, seconds: float) -> None:
    log.warning(
        "%s partition %d: %d records wait behind a transaction that has been open at offset %d for %.0f s. It ends "
        "with its producer, or when its transaction.timeout.ms has passed; one that the brokers have lost track of "
        "never does: `kafka-transactions.sh --bootstrap-server BROKERS find-hanging --topic %s --partition %d` finds "
        "it, `abort --topic %s --partition %d --start-offset %d` ends it",
        tp.topic, tp.partition, records, start, seconds, tp.topic, tp.partition, tp.topic, tp.partition, start,
    )  # fmt: skip


async def written_ends(consumer: Any, logs: Collection[TopicPartition]) -> dict[TopicPartition, int]:
    """The high watermarks of partitions, whatever the isolation level of an aiokafka consumer is."""
    asking = copy.copy(
        consumer._fetcher
    )  # which only answers questions: its isolation level is not changed in between
    asking._isolation_level = READ_UNCOMMITTED
    found: dict[TopicPartition, int] = await asking.end_offsets(list(logs), consumer._request_timeout_ms)
    return found
