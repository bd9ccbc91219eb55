"""Connections that are lost at moments at which aiokafka gives up."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError
from support.kafka import create_topics

from streams.engine import clients
from streams.engine.identity import partition_count


class Flaky:
    """Cannot connect at first."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.client = self.cluster = self
        self.known = {"a broker"}

    def brokers(self) -> set[str]:
        return self.known

    async def start(self) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise KafkaConnectionError("nobody there")

    async def coordinator_lookup(self, kind: int) -> int:
        await self.start()
        return kind


def test_a_client_is_started_as_soon_as_a_broker_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "RETRY_SECONDS", 0)
    flaky = Flaky(3)
    asyncio.run(clients.start(flaky))
    assert flaky.failures == -1


def test_a_coordinator_that_cannot_be_looked_up_now_is_looked_up_again() -> None:
    """An error that aiokafka's sender takes as a reason to ask again, not to give up."""
    flaky = Flaky(1)
    clients.look_up_patiently(flaky)
    with pytest.raises(NodeNotReadyError):
        asyncio.run(flaky.coordinator_lookup(1))
    assert asyncio.run(flaky.coordinator_lookup(1)) == 1


def test_a_broker_that_names_no_brokers_yet_is_asked_again() -> None:
    """As one does that has only just been started; to aiokafka a failed assertion."""
    fresh = Flaky(0)
    clients.look_up_patiently(fresh)
    fresh.known = set()
    with pytest.raises(NodeNotReadyError, match="no brokers are known yet"):
        asyncio.run(fresh.coordinator_lookup(1))
    fresh.known = {"a broker"}
    assert asyncio.run(fresh.coordinator_lookup(1)) == 1


@pytest.mark.kafka
def test_a_consumer_is_stopped_whole_while_a_fetch_that_failed_waits_to_be_repeated(
    kafka: str, topic_name: str
) -> None:
    """To the caller, such as a takeover, it would look as if somebody had cancelled it: it would never end."""
    create_topics(kafka, topic_name)

    async def work() -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka, retry_backoff_ms=60_000)
        await clients.start(consumer)
        clients.stop_at_once(consumer)
        failed = asyncio.Event()

        async def send(*_: object) -> None:
            failed.set()
            raise KafkaConnectionError("lost")

        consumer.assign([TopicPartition(topic_name, 0)])
        consumer.seek(TopicPartition(topic_name, 0), 0)
        consumer._client.send = send
        await asyncio.wait_for(failed.wait(), 20)
        await asyncio.sleep(0.1)
        await asyncio.create_task(consumer.stop())

    asyncio.run(work())


@pytest.mark.kafka
@pytest.mark.timeout(90)
def test_a_question_is_not_answered_after_a_fetch_that_waits_for_records(kafka: str, topic_name: str) -> None:
    create_topics(kafka, topic_name, partitions=3)

    async def work() -> int:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka, auto_offset_reset="earliest", fetch_max_wait_ms=30_000
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(topic_name, 0)])
            await consumer.seek_to_end()
            await asyncio.sleep(1)  # its fetch has been sent by now
            async with asyncio.timeout(15):
                return await partition_count(consumer._client, topic_name)
        finally:
            await consumer.stop()

    assert asyncio.run(work()) == 3
