"""The load: simulated calls in the standard mix, made once and read by every contestant."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streams.calls.partition import CallsPartition, Rules
from streams.operations.simulation import Event, events

PARTITIONS = 4
RATE = 150.0
"""Calls that begin in a second of the log: about 4,000 are open at a time."""
_BATCH = 5_000


class Load(NamedTuple):
    """A topic that is full, and what is to come of it: `revisions` records of `calls` completed calls."""

    topic: str
    records: int
    calls: int
    revisions: int


def make_topics(brokers: str, *names: str, partitions: int = PARTITIONS, **config: str) -> None:
    """Topics that keep everything unless `config` says otherwise: the load is stamped with times of the past."""
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": "0"})
    forever = {"retention.ms": "-1", "max.message.bytes": "2097152"} | config
    made = admin.create_topics([NewTopic(name, partitions, 1, config=forever) for name in names])
    for future in made.values():
        future.result(60)


def delete_topics(brokers: str, *names: str) -> None:
    """Free their space."""
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": "0"})
    for future in admin.delete_topics(list(names)).values():
        future.result(20)


def ends(brokers: str, topic: str) -> int:
    """Offsets in a topic, over all partitions."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "benchmarks.ends", "log_level": "0"})
    try:
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return sum(consumer.get_watermark_offsets(place, 10)[1] for place in places)
    finally:
        consumer.close()


def produce(brokers: str, topic: str, calls: int, seed: int) -> Load:
    """Create a topic and fill it with this many calls, keyed by call id, the last of which ended a while ago."""
    make_topics(brokers, topic)
    expected = CallsPartition(Rules(), 0)
    start = int((time.time() - calls / RATE - 600) * 1000)
    records = revisions = 0
    for batch in produced(brokers, topic, events(seed, calls, RATE, start)):
        expected.process([(0, at, key, value, ()) for at, key, value in batch], start * 2)
        records, revisions = records + len(batch), revisions + len(expected.checkpoint().outputs["completed"])
    return Load(topic, records, calls, revisions)


def produced(brokers: str, topic: str, source: Iterator[Event]) -> Iterator[list[Event]]:
    """Write events to a topic, keyed by call id, batch by batch; all of them are there at the end."""
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "linger.ms": 20,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 1_000_000,
            "log_level": "0",
        }
    )
    for batch in _batches(source):
        for at, key, value in batch:
            _send(producer, topic, key, value, at)
        producer.poll(0)
        yield batch
    if left := producer.flush(60):
        raise RuntimeError(f"{left} records could not be produced")


def _batches(source: Iterator[Event]) -> Iterator[list[Event]]:
    while batch := list(islice(source, _BATCH)):
        yield batch


def _send(producer: Producer, topic: str, key: bytes, value: bytes, at: int) -> None:
    while True:
        try:
            producer.produce(topic, value, key, timestamp=at)
            return
        except BufferError:
            producer.poll(0.05)
