"""Ending the transactions that former owners of partitions have left open, so that nobody waits for their timeout."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Final

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, NoError, for_code
from aiokafka.protocol.transaction import InitProducerIdRequest

from streams.engine.config import Config
from streams.engine.protocol import ListTransactionsRequest

log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 0.02
#: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, CONCURRENT_TRANSACTIONS: ask again.
_AGAIN: Final = frozenset({14, 15, 16, 51})
#: Ids that are fenced at once: as many as a broker answers for in a moment.
_AT_ONCE: Final = 32


def transactional_id(config: Config, identity: str) -> str:
    """That of a worker's producer for one stage. Neither a group nor a topic has a colon in its name."""
    return f"{_prefix(config)}{identity}"


def _prefix(config: Config) -> str:
    return f"{config.group}-worker:{config.source}:"


async def end_left_open(
    config: Config, client: Any, identities: Callable[[], Awaitable[Collection[str] | None]]
) -> None:
    """End what a worker has left open that is no member of the group any more, such as one that was killed.

    `identities` asks for those of the present members; None: they are not known, and nothing is ended.
    """
    prefix = _prefix(config)
    found = [each for each in await _open(client) if each.startswith(prefix)]
    if not found:
        return
    living = await identities()
    if living is None:
        return
    dead = [each for each in found if each.removeprefix(prefix) not in living]
    for each in dead:
        log.info("ending the transaction that %s has left open", each)
    await _fence_all(config, client, dead)


async def fence_former_release(config: Config, client: Any, numbers: Iterable[int]) -> None:
    """Fence workers of release 0.1, which write with a producer for each partition and are not fenced by the group."""
    await _fence_all(config, client, [f"{config.group}-{config.source}-{number}" for number in numbers])


async def _fence_all(config: Config, client: Any, ids: Iterable[str]) -> None:
    """Fence producers by their transactional ids: none of them can commit any more, and what is open is aborted."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def fence(id_: str) -> None:
        async with turn:
            await _fence(client, id_, config.transaction_timeout_ms)

    await asyncio.gather(*map(fence, ids))


async def _fence(client: Any, id_: str, timeout_ms: int) -> None:
    request = InitProducerIdRequest(id_, timeout_ms)
    while True:
        try:
            node = await client.coordinator_lookup(CoordinationType.TRANSACTION, id_)
            answer = await client.send(node, request, group=ConnectionGroup.COORDINATION)
        except KafkaError as error:
            if not error.retriable:
                raise
        else:
            if answer.error_code == NoError.errno:
                return
            if answer.error_code not in _AGAIN:
                raise for_code(answer.error_code)(id_)
        await asyncio.sleep(_RETRY_SECONDS)


async def _open(client: Any) -> list[str]:
    """The transactional ids of open transactions. Brokers before Kafka 3.0 do not tell them."""
    answers = await asyncio.gather(*(_listed(client, broker.nodeId) for broker in client.cluster.brokers()))
    return [id_ for answer in answers for id_ in answer]


async def _listed(client: Any, node: int) -> list[str]:
    while True:
        try:
            answer = await client.send(node, ListTransactionsRequest(["Ongoing"]))
        except (IncompatibleBrokerVersion, NotImplementedError):
            log.info(
                "broker %d does not tell its open transactions: those of dead workers end by themselves", node
            )
            return []
        except KafkaError as error:
            if not error.retriable:
                raise
            log.info("broker %d does not answer which transactions are open: %r", node, error)
            return []
        if answer.error_code == NoError.errno:
            return [id_ for id_, _, _, _ in answer.transactions]
        if answer.error_code not in _AGAIN:
            raise for_code(answer.error_code)
        await asyncio.sleep(_RETRY_SECONDS)
