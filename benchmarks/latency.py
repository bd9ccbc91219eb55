"""How old an event is when a reader sees what has come of it: milliseconds, at a fixed rate.

    python -m benchmarks.latency [--rate 10000] [--seconds 20] [--rounds 3]

Simulated calls in the standard mix are sent at the rate, each record stamped with the moment at which it is sent. A
CompletedCall has the timestamp of the record that caused it: a read_committed consumer takes the difference to its own
clock, which is the same. Everybody shares the machine: broker, producer, worker and reader. What the worker costs at
that rate is told too: commits and fetches cost the same however few records they are for.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from math import inf
from pathlib import Path

import click
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.load import PARTITIONS, make_topics
from benchmarks.measure import Offsets, cpu_seconds, spread
from benchmarks.worker import OUTPUTS, environment, worker
from streams.embedded import Cluster
from streams.operations.simulation import Event, events

_WARM_SECONDS = 5.0
_EVENTS_A_CALL = 4.3
_TURN_SECONDS = 0.01
_VARIANTS = (("exactly_once", "100ms"), ("at_least_once", "1s"), ("at_least_once", "25ms"))


def produce(brokers: str, topic: str, rate: int, seconds: float, seed: int) -> None:
    """Send events at the rate, stamped with now; those that are late are sent at once."""
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 1, "partitioner": "murmur2_random"})
    source = events(seed, None, rate / _EVENTS_A_CALL, 0)
    ready = list(
        islice(source, int(rate * seconds))
    )  # made beforehand, or making them would be what is measured
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


def ages(brokers: str, topic: str, ended: threading.Event) -> Iterator[tuple[float, int]]:
    """For each record of the topic: when it was read (monotonic), and its age then, in ms."""
    reader = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "benchmarks.latency",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 500,
            "fetch.queue.backoff.ms": 1,
        }
    )
    reader.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    try:
        while not ended.is_set():
            for message in reader.consume(1_000, 0.02):
                yield time.monotonic(), int(time.time() * 1000) - message.timestamp()[1]
    finally:
        reader.close()


def run(
    brokers: str, name: str, guarantee: str, interval: str, rate: int, seconds: float
) -> tuple[list[int], float]:
    """The ages of all completed calls that were read from the sixth second on, and how many cores the worker used."""
    calls, completed = f"{name}.calls", f"{name}.completed"
    make_topics(brokers, calls, *(f"{completed}{kind}" for kind in OUTPUTS))
    env = environment(brokers, name, calls, completed, GUARANTEE=guarantee, COMMIT_INTERVAL=interval)
    ended, found, begun = threading.Event(), [], inf
    with worker(env) as process, multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(produce, (brokers, calls, 1_000, 1.0, 1))
        while Offsets(brokers, name, calls).committed() < 1_000:
            time.sleep(0.1)
        arguments = (brokers, calls, rate, seconds + _WARM_SECONDS, 2)
        sending = pool.apply_async(produce, arguments, callback=lambda _: ended.set())
        for at, age in ages(brokers, completed, ended):
            begun = min(begun, at)
            if at - begun > _WARM_SECONDS:
                if not found:
                    warm_at, spent = at, cpu_seconds(process.pid)
                found.append(age)
        cores = (cpu_seconds(process.pid) - spent) / (time.monotonic() - warm_at)
        sending.get()
    return found, cores


@click.command()
@click.option("--rate", default=10_000, show_default=True, help="Events a second.")
@click.option("--seconds", default=20.0, show_default=True, help="How long, after five seconds to warm up.")
@click.option("--rounds", default=3, show_default=True)
def main(rate: int, seconds: float, rounds: int) -> None:
    """Measure and print."""
    found: dict[tuple[str, str], list[list[float]]] = {variant: [] for variant in _VARIANTS}
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(directory)) as cluster:
        for number in range(rounds):
            for guarantee, interval in _VARIANTS:
                name = f"{guarantee}-{interval}-{number}"
                seen, cores = run(cluster.bootstrap(), name, guarantee, interval, rate, seconds)
                checkpoints = statistics.quantiles(seen, n=100)
                found[guarantee, interval].append([checkpoints[49], checkpoints[98], max(seen), cores])
    load = os.getloadavg()[0]
    print(f"{rate:,} events/s for {seconds:.0f} s, {rounds} rounds; load average at the end {load:.1f}")
    for (guarantee, interval), rows in found.items():
        *waits, cores = zip(*rows, strict=True)
        p50, p99, most = (spread(column, ".0f") for column in waits)
        print(
            f"{guarantee}, {interval}: p50 {p50} ms, p99 {p99} ms, greatest {most} ms; {spread(cores, '.2f')} cores"
        )


if __name__ == "__main__":
    main()
