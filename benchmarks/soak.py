"""Workers at work for long: whether anything grows, gets slower, or is lost.

    python -m benchmarks.soak [--events 20000000 | --minutes 60] [--rate 10000] [--faults 60]
        [--partitions 4] [--workers 1] [--directory DIRECTORY]

Simulated calls in the standard mix (one in a thousand of which never ends) are produced a little ahead of the workers,
or at a fixed rate. They are remembered for half an hour of their time, so that from the first sixtieth of the default
load on as many are forgotten as are begun. Every tenth of the run tells the rate, the workers' CPU per event, the
resident memory of each worker and of the broker, what has happened to them, and for how long records waited, from being
sent to being committed: that is bounded by the workers at a fixed rate, and by how far the producer runs ahead
otherwise. With `--faults N` a fault begins every N seconds, if records have been committed since the last one; which
kinds there are `benchmarks.faults` says.

At the end `telefonie status --recount` must find every equation true, and have read as many records as lie in the log.
These may be a few more than were sent: a producer whose broker was killed may write what it had in flight twice. No
record of a completed call may be there twice, and `telefonie replay --compare` must find none that is missing,
differing or extra.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from math import inf
from pathlib import Path
from random import Random

import click
from confluent_kafka import Producer

from benchmarks.crew import Crew
from benchmarks.faults import TIMING, Faults, kinds
from benchmarks.load import PARTITIONS, RATE, make_topics
from benchmarks.measure import Offsets, resident
from benchmarks.proofs import compared, exactly_once, status
from benchmarks.worker import OUTPUTS, environment
from streams.embedded import Broker, Cluster
from streams.operations.simulation import Event, Mix, events

CALLS, COMPLETED, GROUP = "calls", "completed", "soak"
_MIX = Mix(unterminated=0.001)
_AHEAD = 400_000
_BATCH = 2_000
_TURN_SECONDS = 0.02
_LIFE_SECONDS = 60 * 86_400
"""So long ago the calls begin: an hour of the soak is some days of theirs."""
#: The last 256 MiB of each partition: the disk is not what is tried.
_TOPICS = {"retention.bytes": str(256 << 20), "segment.bytes": str(32 << 20)}
#: As it is made, but what was forgotten is gone as much sooner as calls are forgotten sooner than after a day.
_CHANGELOG = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.bytes": str(16 << 20),
    "delete.retention.ms": "150000",
    "retention.ms": "-1",
}
_SETTINGS = {
    "CALL_RETENTION": "30m",
    "CALL_TIMEOUT": "10m",
    "SESSION_TIMEOUT": f"{TIMING.session:.0f}s",
    "LOG_LEVEL": "info",  # assignments are read from the log
}
_STALL_SECONDS = 300.0
"""Nothing may be committed for so long, while something is left to do."""


class Progress:
    """Counts that the producer's process and this one share, in records: sent, committed, and when to stop."""

    def __init__(self, limit: int) -> None:
        self.sent = multiprocessing.Value("q", 0)
        self.committed = multiprocessing.Value("q", 0)
        self.limit = multiprocessing.Value("q", limit)


def send(brokers: str, seed: int, rate: float, progress: Progress) -> None:
    """Produce up to the limit at this many records per second, never more than a little ahead of what is committed."""
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "linger.ms": 20,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "message.timeout.ms": 600_000,
            "log_level": "0",
        }
    )
    source = events(seed, None, RATE, int((time.time() - _LIFE_SECONDS) * 1000), _MIX)
    size, due = int(min(_BATCH, max(1, rate * _TURN_SECONDS))), time.monotonic()
    while (left := progress.limit.value - progress.sent.value) > 0:
        ahead = progress.sent.value - progress.committed.value
        if ahead > _AHEAD or time.monotonic() < due:
            time.sleep(_TURN_SECONDS)
            continue
        due += size / rate
        batch = list(islice(source, min(size, left)))
        _send(producer, batch)
        progress.sent.value += len(batch)
    if unsent := producer.flush(600):
        raise RuntimeError(f"{unsent} records could not be produced")


def _send(producer: Producer, batch: list[Event]) -> None:
    for at, key, value in batch:
        while True:
            try:
                producer.produce(CALLS, value, key, timestamp=at)
                break
            except BufferError:
                producer.poll(0.1)
    producer.poll(0)


class Waits:
    """For how long records wait, from being sent to being committed, as far as looking now and then can tell."""

    def __init__(self) -> None:
        self._open: deque[tuple[float, int]] = deque()
        self._seconds: list[float] = []

    def look(self, now: float, sent: int, committed: int) -> None:
        """At `now` (monotonic, s) this many records had been sent, and this many committed."""
        while self._open and self._open[0][1] <= committed:
            self._seconds.append(now - self._open.popleft()[0])
        if sent > committed and (not self._open or sent > self._open[-1][1]):
            self._open.append((now, sent))

    def told(self) -> str:
        """The waits since the last time: median, 99th percentile and longest."""
        found, self._seconds = sorted(self._seconds), []
        if not found:
            return "nothing was committed"
        shown = (found[len(found) // 2], found[len(found) * 99 // 100], found[-1])
        return "waits p50 {:.2f} s, p99 {:.2f} s, longest {:.1f} s".format(*shown)


class Soak:
    """Workers on a broker of their own, and what they have cost so far."""

    def __init__(self, broker: Broker, crew: Crew, faults: Faults) -> None:
        self._broker, self._crew, self._faults = broker, crew, faults
        self._begun = self._told_at = time.monotonic()
        self._told = self._spent_then = 0.0

    def tell(self, committed: int, waits: Waits) -> None:
        """Print how it goes since the last time."""
        places = self._crew.places
        now, spent = time.monotonic(), sum(each.cpu_seconds() for each in places)
        records = max(1.0, committed - self._told)
        print(
            f"{now - self._begun:7.0f} s {committed:12,} events {records / (now - self._told_at):8,.0f}/s "
            f"{(spent - self._spent_then) / records * 1e6:6.1f} CPU-s/M, RSS: workers "
            f"{' '.join(f'{each.resident():4.0f}' for each in places)} MiB, broker "
            f"{resident(self._broker.pid) / 2**20:4.0f} MiB; {waits.told()}; {happened(self._faults)}",
            flush=True,
        )
        self._told_at, self._told, self._spent_then = now, committed, spent

    def watch(
        self, sender: multiprocessing.Process, progress: Progress, offsets: Offsets, minutes: float | None
    ) -> None:
        """Until all is sent and committed, and no fault is under way: tell how it goes every tenth of the way.

        Raises RuntimeError when nothing is committed any more, or a worker does not do what it has to.
        """
        waits, end, tenths = Waits(), self._begun + (minutes or inf) * 60, 0
        moved_at = time.monotonic()
        while self._faults.go_on() or sender.is_alive() or progress.committed.value < offsets.ends():
            time.sleep(0.05)
            self._crew.check()
            now, committed = time.monotonic(), max(progress.committed.value, offsets.committed())
            moved_at = now if committed > progress.committed.value else moved_at
            progress.committed.value = committed
            if now - moved_at > _STALL_SECONDS:
                raise RuntimeError(f"nothing was committed for {_STALL_SECONDS:.0f} s:\n{self._crew.said()}")
            waits.look(now, progress.sent.value, committed)
            share = (now - self._begun) / (minutes * 60) if minutes else committed / progress.limit.value
            if share * 10 >= tenths + 1:
                tenths = int(share * 10)
                self.tell(committed, waits)
            if now >= end:
                progress.limit.value = progress.sent.value
                end = inf
            elif sender.is_alive():
                self._faults.begin(committed)


def happened(faults: Faults) -> str:
    """What has happened so far, in words."""
    return ", ".join(f"{kind} {count}" for kind, count in sorted(faults.counts.items())) or "no faults"


@click.command()
@click.option("--events", "limit", default=20_000_000, show_default=True)
@click.option("--minutes", type=float, help="Stop after so long, however many events that are.")
@click.option(
    "--rate", type=float, default=inf, help="Records sent a second.  [default: as many as are taken]"
)
@click.option("--faults", "every", type=float, help="Seconds between two faults.  [default: none]")
@click.option("--partitions", type=click.IntRange(1), default=PARTITIONS, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="An empty directory for topics and logs, which keeps them.  [default: a temporary one]",
)
def main(
    limit: int,
    minutes: float | None,
    rate: float,
    every: float | None,
    partitions: int,
    workers: int,
    seed: int,
    directory: Path | None,
) -> None:
    """Let workers work, and tell how it goes."""
    progress, chance = Progress(limit), Random(f"{seed}/faults")
    with folder(directory) as files, Cluster(files / "kafka") as cluster:
        brokers, broker = cluster.bootstrap(), cluster.brokers[0]
        make_topics(
            brokers, CALLS, *(f"{COMPLETED}{kind}" for kind in OUTPUTS), partitions=partitions, **_TOPICS
        )
        make_topics(brokers, f"{GROUP}-calls-changelog", partitions=partitions, **_CHANGELOG)
        sender = multiprocessing.Process(target=send, args=(brokers, seed, rate, progress), daemon=True)
        sender.start()
        env = environment(brokers, GROUP, CALLS, COMPLETED, **_SETTINGS)
        with closing(Crew(env, files, workers, chance)) as crew:
            faults = Faults(crew, broker, every or inf, kinds(workers, chance), chance)
            offsets = Offsets(brokers, GROUP, CALLS, partitions)
            Soak(broker, crew, faults).watch(sender, progress, offsets, minutes)
            crew.stop()
        print(f"{happened(faults)}; every worker has ended by SIGTERM", flush=True)
        if sender.exitcode:
            raise RuntimeError(f"the producer ended with exit code {sender.exitcode}")
        prove(brokers, env, partitions, progress.sent.value, offsets.ends())


@contextmanager
def folder(kept: Path | None) -> Iterator[Path]:
    """This one, or a temporary one."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def prove(brokers: str, env: dict[str, str], partitions: int, sent: int, written: int) -> None:
    """Print what holds. Raises RuntimeError when something was lost or doubled."""
    found = status(env)
    told = f"{sent:,} records were sent, {written:,} written, {found['read']:,} read"
    if not sent <= written == found["read"]:
        raise RuntimeError(told)
    print(f"{told}: each that lies in the log once, and every equation holds:")
    for each in found["equations"]:
        print(f"    {each['equation']}: {each['left']:,}")
    published = exactly_once(brokers, COMPLETED, partitions)
    print(f"{published:,} records of completed calls, none of them twice; replay --compare:", flush=True)
    for what, counts in compared(env).items():
        print(f"    {what}: {', '.join(f'{verdict} {count:,}' for verdict, count in counts.items())}")


if __name__ == "__main__":
    main()
