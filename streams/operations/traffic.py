"""Sending events to the calls topic: when they are due, or as fast as the brokers accept them."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from aiokafka import AIOKafkaProducer

from streams.kafka import topics
from streams.kafka.connecting import connected
from streams.kafka.credentials import client_options
from streams.settings import Settings

_BATCH_BYTES = 256 * 1024

Keyed: TypeAlias = tuple[int, bytes | None, bytes]
"""Event time (epoch ms), key and value of a record."""


@dataclass
class Sent:
    """How many records have been handed to the producer so far, and how long that has taken."""

    records: int = 0
    seconds: float = 0.0


async def send(settings: Settings, events: Iterable[Keyed], *, live: bool, sent: Sent) -> None:
    """Sends events to the calls topic with their own keys and timestamps; `live` waits for each one's event time.

    The producer is idempotent and waits for all replicas; when this returns, or is cancelled, everything
    counted in `sent` is acknowledged. Raises TopicsError, Unreachable or aiokafka's KafkaError.
    """
    await topics.require_calls(settings)
    producer = AIOKafkaProducer(
        acks="all",
        enable_idempotence=True,
        linger_ms=5 if live else 20,
        max_batch_size=_BATCH_BYTES,
        **client_options(settings),
    )
    async with connected(producer, settings):
        await _send_all(producer, settings.calls_topic, events, live, sent)


async def _send_all(
    producer: AIOKafkaProducer, topic: str, events: Iterable[Keyed], live: bool, sent: Sent
) -> None:
    failures: list[BaseException] = []

    def acknowledged(future: "asyncio.Future[object]") -> None:
        if not future.cancelled() and (error := future.exception()):
            failures.append(error)

    begun = time.monotonic()
    for at, key, value in events:
        if live and (early := at / 1000 - time.time()) > 0:
            await asyncio.sleep(early)
        future = await producer.send(topic, value, key=key, timestamp_ms=at)
        future.add_done_callback(acknowledged)
        sent.records += 1
        sent.seconds = time.monotonic() - begun
        if failures:
            break
    await producer.flush()
    if failures:
        raise failures[0]
