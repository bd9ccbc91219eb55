"""More patience for aiokafka's clients: where they give up because of one lost connection, we wait for the brokers.

How long is for `application.Watchdog` to say.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiokafka.client import ConnectionGroup
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5


async def start(client: Any) -> None:
    """Start a producer or consumer, as soon as a broker can be reached."""
    while True:
        try:
            await client.start()
            return
        except KafkaConnectionError as error:
            log.warning("no broker can be reached, trying again: %s", error)
            await asyncio.sleep(RETRY_SECONDS)


async def ask(client: Any, request: Any) -> Any:
    """The answer of any broker to a request; `client` is aiokafka's of a producer or consumer that has started.

    A broker answers one request of a connection after the other, so not on one that fetches: a fetch waits for records,
    and partitions that stay with a worker would wait with it at each rebalance.
    """
    while True:
        try:
            return await client.send(client.get_random_node(), request, group=ConnectionGroup.COORDINATION)
        except KafkaError as error:
            if not error.retriable:
                raise
            await asyncio.sleep(RETRY_SECONDS)


def look_up_patiently(producer: Any) -> None:
    """Have a producer ask again for a coordinator where to aiokafka it is fatal that none can be asked.

    That is when the connection is lost meanwhile, and when the broker that was asked first named no brokers, as one
    does that has only just been started.
    """
    lookup = producer.client.coordinator_lookup

    async def patient(*args: Any) -> Any:
        if not producer.client.cluster.brokers():
            raise NodeNotReadyError("no brokers are known yet")
        try:
            return await lookup(*args)
        except KafkaConnectionError as error:
            raise NodeNotReadyError(str(error)) from error  # which is tried again

    producer.client.coordinator_lookup = patient


def stop_at_once(consumer: Any) -> None:
    """Make the `stop` of a consumer that has started complete and immediate, even while it fetches.

    aiokafka's is interrupted by a fetch that has failed and waits to be retried, as if its caller were cancelled, and
    leaves the connections open. Over TLS it waits for the brokers to end the connection too, and these do nothing else
    while a fetch waits for records.
    """
    fetch, client = consumer._fetcher._proc_fetch_request, consumer._client
    close = client.close

    async def quiet(*args: Any) -> bool:
        try:
            return bool(await fetch(*args))
        except asyncio.CancelledError:  # as aiokafka has it while the request is under way
            return False

    async def abort() -> None:
        for connection in client._conns.values():
            if connection._writer is not None:
                connection._writer.transport.abort()
        await close()

    consumer._fetcher._proc_fetch_request, client.close = quiet, abort
