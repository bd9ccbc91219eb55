"""A small Kafka client for tests: create topics, write records, read what is there."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]
PATIENT_CONTROLLER = {"broker.session.timeout.ms": "120000"}
"""For a broker that stands still, on purpose or since the machine does, and is not to be fenced for it.

Kafka 4.3.1 was seen to leave a transaction for ever without its markers that was being committed when the only broker
came back and was fenced at once: its own log says that it is complete.
"""

_QUIET = {"log_level": "0", "broker.address.family": "v4"}


@dataclass(frozen=True, slots=True)
class Record:
    """A record and its place; `timestamp` in ms, None when the record has none."""

    value: bytes | None
    key: bytes | None = None
    timestamp: int | None = None
    headers: Headers = ()
    partition: int | None = None
    offset: int | None = None


def wait_until_ready(brokers: str, timeout: float = 60) -> None:
    """Wait until a broker answers."""
    admin = AdminClient({"bootstrap.servers": brokers, **_QUIET})
    give_up = time.monotonic() + timeout
    while True:
        try:
            admin.list_topics(timeout=1)
            return
        except KafkaException:
            if time.monotonic() > give_up:
                raise


def create_topics(
    brokers: str,
    *names: str,
    partitions: int = 1,
    replication: int = -1,
    config: Mapping[str, str] | None = None,
) -> None:
    """Make topics and wait until they are known; by default with the cluster's replication factor."""
    admin = AdminClient({"bootstrap.servers": brokers, **_QUIET})
    topics = [NewTopic(name, partitions, replication, config=dict(config or {})) for name in names]
    give_up = time.monotonic() + 20
    while True:
        try:
            for future in admin.create_topics(topics).values():
                future.result()
            break
        except KafkaException as error:  # brokers of a new quorum register one after the other
            retriable = error.args[0].code() == KafkaError.INVALID_REPLICATION_FACTOR
            if not retriable or time.monotonic() > give_up:
                raise
            time.sleep(0.1)
    while not set(names) <= set(admin.list_topics(timeout=10).topics):
        time.sleep(0.02)


def grow(brokers: str, topic: str, partitions: int) -> None:
    """Add partitions to a topic, up to this number, and wait until they are known."""
    admin = AdminClient({"bootstrap.servers": brokers, **_QUIET})
    for future in admin.create_partitions([NewPartitions(topic, partitions)]).values():
        future.result(20)
    while len(admin.list_topics(topic, timeout=10).topics[topic].partitions) < partitions:
        time.sleep(0.02)


def configure(brokers: str, topic: str, config: Mapping[str, str]) -> None:
    """Change settings of a topic."""
    admin = AdminClient({"bootstrap.servers": brokers, **_QUIET})
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()


def produce(
    brokers: str, topic: str, records: Iterable[Record], *, patience: float = 30, **config: object
) -> None:
    """Write records in order; those that name no partition go where Kafka's default partitioner puts them."""
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "enable.idempotence": True,
            "linger.ms": 5,
            "reconnect.backoff.max.ms": 200,
            "partitioner": "murmur2_random",
            **_QUIET,
            **config,
        }
    )
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error:
            failures.append(error)

    for record in records:
        place = {} if record.partition is None else {"partition": record.partition}
        stamp = {} if record.timestamp is None else {"timestamp": record.timestamp}
        while True:
            try:
                producer.produce(
                    topic,
                    record.value,
                    record.key,
                    headers=list(record.headers),
                    on_delivery=delivered,
                    **place,
                    **stamp,
                )
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(patience)
    assert not failures, failures[0]
    assert not left, f"{left} records were not delivered within {patience} s"


def read_topic(
    brokers: str, topic: str, *, read_committed: bool = True, timeout: float = 30, **config: object
) -> list[Record]:
    """Every record that is in the topic now, partition by partition in offset order.

    With `read_committed`, those of aborted transactions are left out, and a transaction that is still open
    ends the reading of its partition.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "tests.support.kafka",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": "read_committed" if read_committed else "read_uncommitted",
            "check.crcs": True,
            **_QUIET,
            **config,
        }
    )
    try:
        return _read(consumer, topic, timeout)
    finally:
        consumer.close()


def _read(consumer: Consumer, topic: str, timeout: float) -> list[Record]:
    found: dict[int, list[Record]] = {
        p: [] for p in consumer.list_topics(topic, timeout=10).topics[topic].partitions
    }
    consumer.assign([TopicPartition(topic, partition, 0) for partition in found])
    unfinished = set(found)
    give_up = time.monotonic() + timeout
    while unfinished:
        assert time.monotonic() < give_up, (
            f"partitions {unfinished} of {topic} were not read within {timeout} s"
        )
        for message in consumer.consume(1000, 0.2):
            error = message.error()
            if error is None:
                found[message.partition()].append(_record(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                unfinished.discard(message.partition())
            else:
                raise KafkaException(error)
    return [record for partition in sorted(found) for record in found[partition]]


def _record(message: Message) -> Record:
    kind, timestamp = message.timestamp()
    return Record(
        value=message.value(),
        key=message.key(),
        timestamp=timestamp if kind and timestamp != -1 else None,
        headers=tuple(message.headers() or ()),
        partition=message.partition(),
        offset=message.offset(),
    )


def end_offset(brokers: str, topic: str, partition: int = 0) -> int:
    """Where the next record of the partition will be."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "tests.support.kafka", **_QUIET})
    try:
        return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1])
    finally:
        consumer.close()


def committed_offsets(brokers: str, group: str, topic: str) -> dict[int, int]:
    """The committed offset of each partition of the topic for which the group has one."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": group, **_QUIET})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        committed = _committed(consumer, [TopicPartition(topic, p) for p in partitions])
        return {place.partition: place.offset for place in committed if place.offset >= 0}
    finally:
        consumer.close()


def _committed(consumer: Consumer, places: list[TopicPartition]) -> list[TopicPartition]:
    give_up = time.monotonic() + 60
    while True:
        try:
            found: list[TopicPartition] = consumer.committed(places, timeout=10)
            return found
        except (
            KafkaException
        ) as error:  # a new broker makes the topic of offsets when it is first asked for them
            # Until its transaction times out, that of a killed worker holds the answer up.
            waited_for = (KafkaError.NOT_COORDINATOR, KafkaError._TIMED_OUT)
            if error.args[0].code() not in waited_for or time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def delete_records(brokers: str, topic: str, partition: int, before: int) -> None:
    """Have the broker remove what precedes an offset, as retention does."""
    admin = AdminClient({"bootstrap.servers": brokers, **_QUIET})
    for future in admin.delete_records([TopicPartition(topic, partition, before)]).values():
        future.result(20)
