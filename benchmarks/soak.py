"""A worker at work for long: whether anything grows, gets slower, or is lost.

    python -m benchmarks.soak [--events 20000000 | --minutes 60] [--rate 10000] [--faults 60]

Simulated calls in the standard mix (one in a thousand of which never ends) are produced a little ahead of the worker,
or at a fixed rate. They are remembered for half an hour of their time, so that from the first sixtieth of the default
load on as many are forgotten as are begun. Every tenth of the run tells the rate, the worker's CPU per event, the
resident memory of worker and broker, and for how long records waited, from being sent to being committed: that is
bounded by the worker at a fixed rate, and by how far the producer runs ahead otherwise. With `--faults N` the worker is
killed every N seconds, if it has been at work since, and every fifth time the broker too.

At the end `telefonie status --recount` must find every equation true, and have read as many records as lie in the log.
These may be a few more than were sent: a producer whose broker was killed may write what it had in flight twice.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

import click
from confluent_kafka import Producer

from benchmarks.load import RATE, make_topics
from benchmarks.measure import Offsets, Process, cpu_seconds, resident
from benchmarks.worker import OUTPUTS, ROOT, environment, worker
from streams.embedded import Cluster
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
_SETTINGS = {"CALL_RETENTION": "30m", "CALL_TIMEOUT": "10m", "INSTANCE_ID": "soak", "LOG_LEVEL": "warning"}


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
    """A worker on a broker of its own, and what it has cost so far."""

    def __init__(self, cluster: Cluster, log: Path) -> None:
        self._broker, self._log = cluster.brokers[0], log
        self.env = environment(cluster.bootstrap(), GROUP, CALLS, COMPLETED, **_SETTINGS)
        self._begun = self._told_at = time.monotonic()
        self._told = self._spent = self._spent_then = 0.0
        self.kills = 0
        self._start()

    def _start(self) -> None:
        self._running = ExitStack()
        self.worker: Process = self._running.enter_context(worker(self.env, self._log))

    def check(self) -> None:
        """Raise RuntimeError when the worker has ended by itself."""
        if self.worker.poll() is not None:
            raise RuntimeError(f"the worker ended:\n{self._log.read_text()[-3000:]}")

    def kill(self) -> None:
        """SIGKILL it and start another; every fifth time the broker too."""
        self.kills += 1
        self._spent += cpu_seconds(self.worker.pid)
        self._running.close()
        if self.kills % 5 == 0:
            self._broker.kill()
            self._broker.start()
        self._start()

    def tell(self, committed: int, waits: Waits) -> None:
        """Print how it goes since the last time."""
        now, spent = time.monotonic(), self._spent + cpu_seconds(self.worker.pid)
        records = max(1.0, committed - self._told)
        print(
            f"{now - self._begun:7.0f} s {committed:12,} events {records / (now - self._told_at):8,.0f}/s "
            f"{(spent - self._spent_then) / records * 1e6:6.1f} CPU-s/M, RSS: worker "
            f"{resident(self.worker.pid) / 2**20:4.0f} MiB, broker {resident(self._broker.pid) / 2**20:4.0f} MiB; "
            f"{waits.told()}",
            flush=True,
        )
        self._told_at, self._told, self._spent_then = now, committed, spent

    def stop(self) -> None:
        """In order."""
        self.worker.terminate()
        if self.worker.wait(60):
            raise RuntimeError(f"the worker did not stop cleanly:\n{self._log.read_text()[-3000:]}")


def status(env: dict[str, str]) -> dict[str, Any]:
    """What `telefonie status` counts. Raises CalledProcessError when an equation is violated."""
    command = [sys.executable, "-m", "streams", "status", "--recount", "--json"]
    found: dict[str, Any] = json.loads(subprocess.check_output(command, cwd=ROOT, env=env))
    return found


@click.command()
@click.option("--events", "limit", default=20_000_000, show_default=True)
@click.option("--minutes", type=float, help="Stop after so long, however many events that are.")
@click.option(
    "--rate", type=float, default=inf, help="Records sent a second.  [default: as many as are taken]"
)
@click.option("--faults", type=float, help="Seconds between two kills.  [default: none]")
@click.option("--seed", default=7, show_default=True)
def main(limit: int, minutes: float | None, rate: float, faults: float | None, seed: int) -> None:
    """Let a worker work, and tell how it goes."""
    progress = Progress(limit)
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(directory) / "kafka") as cluster:
        make_topics(cluster.bootstrap(), CALLS, *(f"{COMPLETED}{kind}" for kind in OUTPUTS), **_TOPICS)
        make_topics(cluster.bootstrap(), f"{GROUP}-calls-changelog", **_CHANGELOG)
        of_sender = (cluster.bootstrap(), seed, rate, progress)
        sender = multiprocessing.Process(target=send, args=of_sender, daemon=True)
        sender.start()
        soak = Soak(cluster, Path(directory) / "log")
        offsets = Offsets(cluster.bootstrap(), GROUP, CALLS)
        watch(soak, sender, progress, offsets, minutes, faults)
        soak.stop()
        found = status(soak.env)
        sent, written = progress.sent.value, offsets.ends()
        told = f"{sent:,} records were sent, {written:,} written, {found['read']:,} read"
        if sender.exitcode or not sent <= written == found["read"]:
            raise RuntimeError(told)
    print(f"{soak.kills} kills; {told}: each that lies in the log once, and every equation holds:")
    for each in found["equations"]:
        print(f"    {each['equation']}: {each['left']:,}")


def watch(
    soak: Soak,
    sender: multiprocessing.Process,
    progress: Progress,
    offsets: Offsets,
    minutes: float | None,
    faults: float | None,
) -> None:
    """Until everything is sent and committed: tell how it goes every tenth of the way, and kill on schedule."""
    begun, waits = time.monotonic(), Waits()
    end, kill_at, tenths = begun + (minutes or inf) * 60, begun + (faults or inf), 0
    killed_at = 0  # a worker that has not come back to work is let alone, or it never would
    while sender.is_alive() or progress.committed.value < offsets.ends():
        time.sleep(0.05)
        soak.check()
        progress.committed.value = committed = max(progress.committed.value, offsets.committed())
        now = time.monotonic()
        waits.look(now, progress.sent.value, committed)
        share = (now - begun) / (minutes * 60) if minutes else committed / progress.limit.value
        if share * 10 >= tenths + 1:
            tenths = int(share * 10)
            soak.tell(committed, waits)
        if now >= kill_at and committed > killed_at:
            kill_at, killed_at = now + (faults or inf), committed
            soak.kill()
        if now >= end:
            progress.limit.value = progress.sent.value
            end = kill_at = inf


if __name__ == "__main__":
    main()
