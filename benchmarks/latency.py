"""How old an event is when a reader sees what has come of it, at a fixed rate, for any number of partitions.

    python -m benchmarks.latency [--partitions 4,16,64,128,256] [--rate 2000] [--warm 25] [--seconds 20]
        [--variants exactly_once:100,at_least_once:25] [--only worker,kafka_streams] [--checkout released=FOLDER]

Simulated calls in the standard mix are sent at the rate, each record stamped with the moment at which it is sent. A
CompletedCall has the timestamp of the record that caused it: a read_committed consumer takes the difference to its own
clock, which is the same. Each run has a broker of its own with a heap of 1 GiB, equally cold for everybody. Everybody
shares the machine: broker, producer, contestant and reader. What it costs at that rate is measured too: commits and
fetches cost the same however few records they are for.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import click
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.contestants import Contestant, Job, chosen, with_checkouts
from benchmarks.load import make_topics
from benchmarks.measure import Offsets, Process, busy_seconds, connections, cpu_seconds, resident
from benchmarks.results import Rows, keep, show, with_record
from benchmarks.worker import HEAP, OUTPUTS
from streams.embedded import Broker, Cluster
from streams.operations.simulation import Event, events

_START_SECONDS = 150.0
_EVENTS_A_CALL = 4.3
_TURN_SECONDS = 0.01


@dataclass(frozen=True)
class Load:
    """What is sent, and how it is to be done."""

    partitions: int
    rate: int
    warm: float
    seconds: float
    guarantee: str
    commit_ms: int


def produce(brokers: str, topic: str, rate: int, seconds: float, seed: int) -> None:
    """Send events at the rate, stamped with now; those that are late are sent at once."""
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 1, "partitioner": "murmur2_random"})
    source = events(seed, None, rate / _EVENTS_A_CALL, 0)
    # Made beforehand, or making them would be what is measured.
    ready = list(islice(source, int(rate * seconds)))
    begun, sent = time.monotonic(), 0
    while sent < len(ready):
        due = min(len(ready), int((time.monotonic() - begun) * rate))
        _send(producer, topic, ready[sent:due])
        sent = due
        time.sleep(_TURN_SECONDS)
    producer.flush(30)


def _send(producer: Producer, topic: str, due: list[Event]) -> None:
    now = int(time.time() * 1000)
    for _, key, value in due:
        producer.produce(topic, value, key, timestamp=now)
    producer.poll(0)


@contextmanager
def sending(*arguments: Any) -> Iterator[int]:
    """`produce` in a process of its own, whose id this gives; killed at the end."""
    process = multiprocessing.get_context("spawn").Process(target=produce, args=arguments, daemon=True)
    process.start()
    try:
        yield process.pid or 0
    finally:
        process.kill()
        process.join(10)


def ages(brokers: str, topic: str, partitions: int) -> Iterator[tuple[float, list[int]]]:
    """Again and again: the time (monotonic), and the ages in ms of the records that were read by then."""
    reader = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "benchmarks.latency",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 500,
            "fetch.queue.backoff.ms": 1,
        }
    )
    reader.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    try:
        while True:
            # At once: `consume` would wait until it has as many as it may take, or for the whole time.
            first = reader.poll(0.02)
            now = time.time() * 1000
            found = [first, *reader.consume(1_000, 0)] if first is not None else []
            yield time.monotonic(), [int(now - each.timestamp()[1]) for each in found if not each.error()]
    finally:
        reader.close()


class Spent(NamedTuple):
    """CPU seconds so far: of the contestant, of the broker, of all that belongs to the benchmark, of the machine."""

    own: float
    broker: float
    ours: float
    everything: float

    @classmethod
    def now(cls, contestant: int, broker: int, sender: int) -> Spent:
        """By their process ids."""
        own, of_broker = cpu_seconds(contestant), cpu_seconds(broker)
        ours = own + of_broker + cpu_seconds(sender) + time.process_time()
        return cls(own, of_broker, ours, busy_seconds())


def observe(load: Load, job: Job, process: Process, broker: Broker) -> dict[str, Any]:
    """The figures of a contestant that is at work, once it is warm."""
    pids = (process.pid, broker.pid)
    found: list[int] = []
    arguments = (job.brokers, job.calls, load.rate, load.warm + load.seconds + 5, 2)
    with sending(*arguments) as sender:
        begin, spent = time.monotonic() + load.warm, None
        for at, seen in ages(job.brokers, job.completed, load.partitions):
            if at < begin:
                continue
            spent = spent or Spent.now(*pids, sender)
            found += seen
            if at > begin + load.seconds:
                break
        assert spent is not None, "the last look was after the beginning"
        used = [
            (now - then) / (at - begin) for now, then in zip(Spent.now(*pids, sender), spent, strict=True)
        ]
    if process.poll() is not None or len(found) < 100:
        raise RuntimeError(f"only {len(found)} calls came of {load.rate * load.seconds:.0f} events")
    cuts = statistics.quantiles(found, n=100)
    return {
        "p50_ms": round(cuts[49]),
        "p99_ms": round(cuts[98]),
        "longest_ms": max(found),
        "own_cores": round(used[0], 2),
        "broker_cores": round(used[1], 2),
        "others_cores": round(max(0.0, used[3] - used[2]), 2),
        "connections": connections(process.pid, int(job.brokers.rpartition(":")[2])),
        "rss_mib": resident(process.pid) >> 20,
    }


def run(contestant: Contestant, load: Load, directory: Path) -> dict[str, Any]:
    """One run, on a broker of its own. Raises RuntimeError when the contestant does not do its work."""
    with Cluster(directory / "kafka", flags=HEAP) as cluster:
        brokers, log = cluster.bootstrap(), directory / "log"
        job = Job(brokers, "latency", "calls", "completed", load.guarantee, load.commit_ms)
        names = (job.calls, *(f"{job.completed}{kind}" for kind in OUTPUTS))
        make_topics(brokers, *names, partitions=load.partitions)
        with contestant.start(job, log) as process:
            produce(brokers, job.calls, 1_000, 1.0, 1)
            offsets, give_up = (
                Offsets(brokers, job.group, job.calls, load.partitions),
                time.monotonic() + _START_SECONDS,
            )
            while offsets.committed() < 1_000:
                if process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError(f"{contestant.title} did not start:\n{log.read_text()[-3000:]}")
                time.sleep(0.1)
            return observe(load, job, process, cluster.brokers[0])


def _variants(text: str) -> list[tuple[str, int]]:
    """Guarantees with their milliseconds between commits, from `exactly_once:100,…`."""
    pairs = (each.partition(":") for each in text.split(","))
    return [(guarantee, int(interval)) for guarantee, _, interval in pairs]


@click.command()
@click.option("--partitions", default="4", show_default=True, help="How many, separated by commas.")
@click.option("--rate", default=2_000, show_default=True, help="Events a second, over all partitions.")
@click.option("--warm", default=25.0, show_default=True, help="Seconds to warm up.")
@click.option("--seconds", default=20.0, show_default=True, help="How long, after that.")
@click.option("--rounds", default=1, show_default=True)
@click.option(
    "--variants",
    default="exactly_once:100",
    show_default=True,
    help="Guarantees and milliseconds between commits.",
)
@click.option("--only", default="worker,kafka_streams", show_default=True, help="Contestants.")
@with_checkouts
@with_record
def main(
    partitions: str,
    rate: int,
    warm: float,
    seconds: float,
    rounds: int,
    variants: str,
    only: str,
    checkouts: tuple[str, ...],
    record: str | None,
) -> None:
    """Measure and print."""
    contestants = list(chosen(only.split(","), checkouts).values())
    options = {"rate": rate, "warm_seconds": warm, "seconds": seconds, "rounds": rounds}
    rows: Rows = []
    for number in range(rounds):
        for count in map(int, partitions.split(",")):
            for guarantee, interval in _variants(variants):
                load = Load(count, rate, warm, seconds, guarantee, interval)
                turn = number % len(contestants)
                for each in contestants[turn:] + contestants[:turn]:
                    rows += attempt(each, load)
                    if record and rows:
                        keep(record, options, rows)
    show(rows)


def attempt(contestant: Contestant, load: Load) -> Rows:
    """The row of one run; none, and the reason on stderr, when the contestant does not do its work."""
    try:
        with tempfile.TemporaryDirectory() as directory:
            found = run(contestant, load, Path(directory))
    except RuntimeError as error:
        click.echo(f"{load}: {error}", err=True)
        return []
    head = {
        "partitions": load.partitions,
        "contestant": contestant.title,
        "guarantee": load.guarantee,
        "commit_ms": load.commit_ms,
    }
    click.echo(f"{head | found}", err=True)
    return [head | found]


if __name__ == "__main__":
    main()
