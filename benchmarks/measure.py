"""Measuring a consumer group from outside: by what it has committed, and by what the system says of its processes.

Everybody is measured by the same means. The clock and the counters of CPU start with the first progress that is
committed, so that starting up is left out, and end with the last commit; only what is committed in between counts.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from benchmarks.load import PARTITIONS

Process: TypeAlias = subprocess.Popen[bytes]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_ESTABLISHED = "01"
_LOOKS = 5
"""A table is read in pieces: one that changes meanwhile may lack a row."""
_LIMIT_SECONDS = 300.0
_QUIET = {"log_level": "0", "broker.address.family": "v4"}


@dataclass
class Run:
    """One way through the load. Costs are CPU seconds per million events."""

    events_per_second: float
    cost: float
    #: Of the second half: most of a JVM's warm-up is before it.
    late_cost: float
    broker_cost: float
    #: Resident memory at the end, MiB; of all processes.
    rss: float
    #: Processor cores that others have used meanwhile: how far to trust the rate.
    others: float


class _Moment(NamedTuple):
    """Counters at one moment: seconds, records committed, CPU seconds of the processes, the broker and all."""

    at: float
    committed: int
    own: float
    broker: float
    everything: float


class Offsets:
    """What a group has committed of a topic."""

    def __init__(self, brokers: str, group: str, topic: str, partitions: int = PARTITIONS) -> None:
        # Not read_committed: it would wait for transactions that are under way.
        self._consumer = Consumer(
            {"bootstrap.servers": brokers, "group.id": group, "isolation.level": "read_uncommitted", **_QUIET}
        )
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]

    def committed(self) -> int:
        """Offsets, over all partitions: the load has no gaps, so it is the number of records."""
        return sum(self.each())

    def each(self) -> list[int]:
        """The offset of each partition; 0 where nothing has been committed."""
        try:
            found = self._consumer.committed(self._partitions, timeout=10)
        except KafkaException:  # there is no coordinator yet
            return [0] * len(self._partitions)
        return [max(0, place.offset) for place in found]

    def ends(self) -> int:
        """The ends of all partitions: how many records there are to read."""
        return sum(self._consumer.get_watermark_offsets(each, timeout=10)[1] for each in self._partitions)


def follow(processes: Sequence[Process], broker: int, offsets: Offsets, records: int) -> Run:
    """Watch the processes of a group until it has committed this many records; `broker` is the broker's process id.

    What was committed before is the start. With several processes the clock starts when every partition has made
    some progress. Raises RuntimeError when a process ends before, or they are not done within five minutes.
    """

    def moment() -> _Moment:
        each = offsets.each()
        return _Moment(
            time.monotonic(),
            sum(each) if len(processes) == 1 or all(each) else 0,
            sum(cpu_seconds(process.pid) for process in processes),
            cpu_seconds(broker),
            busy_seconds(),
        )

    give_up = time.monotonic() + _LIMIT_SECONDS
    first = _until(lambda now: now.committed > 0, moment, processes, give_up)
    ours = sum(os.times()[:2])
    half = _until(lambda now: now.committed >= (first.committed + records) / 2, moment, processes, give_up)
    last = _until(lambda now: now.committed >= records, moment, processes, give_up)
    seconds, of_broker = last.at - first.at, last.broker - first.broker
    used = last.everything - first.everything - (last.own - first.own) - of_broker
    others = used - (sum(os.times()[:2]) - ours)
    return Run(
        events_per_second=(last.committed - first.committed) / seconds,
        cost=_cost(first, last),
        late_cost=_cost(half if half.committed < last.committed else first, last),
        broker_cost=of_broker / (last.committed - first.committed) * 1e6,
        rss=sum(resident(process.pid) for process in processes) / 2**20,
        others=max(0.0, others / seconds),
    )


def _cost(begin: _Moment, end: _Moment) -> float:
    return (end.own - begin.own) / (end.committed - begin.committed) * 1e6


def _until(
    done: Callable[[_Moment], bool],
    moment: Callable[[], _Moment],
    processes: Sequence[Process],
    give_up: float,
) -> _Moment:
    while not done(now := moment()):
        if any(process.poll() is not None for process in processes) or now.at > give_up:
            raise RuntimeError(f"{processes[0].args!r} ended or took too long, at {now.committed} records")
        time.sleep(0.03)
    return now


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident(pid: int) -> int:
    """Bytes of physical memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def connections(pid: int, port: int) -> int:
    """TCP connections that a process holds to a port, over IPv4 and over IPv6."""
    sockets = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            sockets.add(str(each.readlink()))
    found = set[str]()
    for name in ("tcp", "tcp6") * _LOOKS:
        found |= connected(Path(f"/proc/{pid}/net/{name}").read_text(), port)
    return len(sockets & {f"socket:[{inode}]" for inode in found})


def connected(table: str, port: int) -> set[str]:
    """The inodes of the sockets that a table as in /proc/net/tcp lists as connected to the port."""
    rows = (line.split() for line in table.splitlines()[1:])
    return {row[9] for row in rows if row[3] == _ESTABLISHED and int(row[2].rpartition(":")[2], 16) == port}


def busy_seconds() -> float:
    """CPU time that all processes have used so far."""
    user, nice, system, *_ = map(int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9])
    return (user + nice + system) / _TICKS


def spread(values: Sequence[float], form: str) -> str:
    """Min–median–max."""
    chosen = dict.fromkeys((min(values), statistics.median(values), max(values)))
    return "–".join(format(value, form) for value in chosen)


def published(brokers: str, topic: str, partitions: int = PARTITIONS) -> Iterator[Message]:
    """All records that a read_committed reader finds in a topic."""
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
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
        unfinished = set(range(partitions))
        while unfinished:
            for message in consumer.consume(10_000, 0.5):
                if (error := message.error()) is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    unfinished.discard(message.partition())
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()
