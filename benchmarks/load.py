"""The load: simulated calls in the standard mix, made once and read by every contestant."""

from __future__ import annotations

import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streams.simulation import STANDARD_MIX, events

PARTITIONS = 4
#: Calls that begin in a second of the log: about 4,000 are open at a time.
_RATE = 150.0


def make_topics(brokers: str, *names: str) -> None:
    """Topics that keep everything: the load is stamped with times of the past."""
    admin = AdminClient({"bootstrap.servers": brokers})
    forever = {"retention.ms": "-1", "max.message.bytes": "2097152"}
    made = admin.create_topics([NewTopic(name, PARTITIONS, 1, config=forever) for name in names])
    for future in made.values():
        future.result(20)


def produce(brokers: str, topic: str, calls: int, seed: int) -> int:
    """Write the events of so many calls, keyed by call id; returns how many records."""
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "linger.ms": 20,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    start = int((time.time() - calls / _RATE - 600) * 1000)
    records = 0
    for at, key, value in events(seed, calls, _RATE, start, STANDARD_MIX):
        while True:
            try:
                producer.produce(topic, value, key, timestamp=at)
                break
            except BufferError:
                producer.poll(0.05)
        records += 1
        if not records % 5_000:
            producer.poll(0)
    if left := producer.flush(60):
        raise RuntimeError(f"{left} records could not be produced")
    return records
