"""Measuring a consumer group from outside: by what it has committed, and by what the system says of its process.

Everybody is measured by the same means. The clock and the counters of CPU start with the first progress that is
committed, so that starting up is left out, and end with the last commit; only what is committed in between counts.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from benchmarks.load import PARTITIONS

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LIMIT_SECONDS = 300.0
_QUIET = {"log_level": "0", "broker.address.family": "v4"}


@dataclass
class Run:
    """One way through the load. Costs are CPU seconds per million events."""

    events_per_second: float
    cost: float
    broker_cost: float
    #: Resident memory at the end, MiB.
    rss: float
    #: Processor cores that others have used meanwhile: how far to trust the rate.
    others: float


class _Moment(NamedTuple):
    """Counters at one moment: seconds, records committed, CPU seconds of the process, the broker and all."""

    at: float
    committed: int
    own: float
    broker: float
    everything: float


class Offsets:
    """What a group has committed of a topic."""

    def __init__(self, brokers: str, group: str, topic: str) -> None:
        # Not read_committed: it would wait for transactions that are under way.
        self._consumer = Consumer(
            {"bootstrap.servers": brokers, "group.id": group, "isolation.level": "read_uncommitted", **_QUIET}
        )
        self._partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]

    def committed(self) -> int:
        """Offsets, over all partitions: the load has no gaps, so it is the number of records."""
        try:
            found = self._consumer.committed(self._partitions, timeout=10)
        except KafkaException:  # there is no coordinator yet
            return 0
        return sum(max(0, place.offset) for place in found)


def follow(process: subprocess.Popen[bytes], broker: int, offsets: Offsets, records: int) -> Run:
    """Watch a process until its group has committed so many records; `broker` is the broker's process id.

    Raises RuntimeError when the process ends before, or is not done within five minutes.
    """

    def moment() -> _Moment:
        return _Moment(
            time.monotonic(),
            offsets.committed(),
            cpu_seconds(process.pid),
            cpu_seconds(broker),
            _busy_seconds(),
        )

    give_up = time.monotonic() + _LIMIT_SECONDS
    first = _until(lambda now: now.committed > 0, moment, process, give_up)
    ours = sum(os.times()[:2])
    last = _until(lambda now: now.committed >= records, moment, process, give_up)
    millions, seconds = (last.committed - first.committed) / 1e6, last.at - first.at
    own, of_broker = last.own - first.own, last.broker - first.broker
    others = last.everything - first.everything - own - of_broker - (sum(os.times()[:2]) - ours)
    return Run(
        events_per_second=millions * 1e6 / seconds,
        cost=own / millions,
        broker_cost=of_broker / millions,
        rss=int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * _PAGE / 2**20,
        others=max(0.0, others / seconds),
    )


def _until(
    done: Callable[[_Moment], bool],
    moment: Callable[[], _Moment],
    process: subprocess.Popen[bytes],
    give_up: float,
) -> _Moment:
    while not done(now := moment()):
        if process.poll() is not None or now.at > give_up:
            raise RuntimeError(f"{process.args!r} ended or took too long, at {now.committed} records")
        time.sleep(0.03)
    return now


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _busy_seconds() -> float:
    """CPU time that all processes have used so far."""
    user, nice, system, *_ = map(int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9])
    return (user + nice + system) / _TICKS


def published(brokers: str, topic: str) -> Iterator[bytes]:
    """The keys of all records that a read_committed reader finds in a topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "benchmarks.published",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            **_QUIET,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        unfinished = set(range(PARTITIONS))
        while unfinished:
            for message in consumer.consume(10_000, 0.5):
                if (error := message.error()) is None:
                    yield message.key()
                elif error.code() == KafkaError._PARTITION_EOF:
                    unfinished.discard(message.partition())
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()
