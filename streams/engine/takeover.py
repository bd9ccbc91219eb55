"""Ending the transactions that former owners of partitions have left open, so that nobody waits for their timeout."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Final

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, NoError, RequestTimedOutError, for_code
from aiokafka.protocol.transaction import InitProducerIdRequest

from streams.engine.config import Config
from streams.engine.protocol import ListTransactionsRequest

log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 0.02
#: For which a broker is waited for.
_ANSWER_SECONDS: Final = 5.0
#: Between two attempts to end what dead workers have left open, while it is waited for.
_END_SECONDS: Final = 0.5
#: Seconds that transactions of others hold up a takeover before it is said, and said again.
_WARN_AFTER, _WARN_AGAIN = 1.0, 10.0
#: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, CONCURRENT_TRANSACTIONS: ask again.
_AGAIN: Final = frozenset({14, 15, 16, 51})
#: Ids that are fenced at once: as many as a broker answers for in a moment.
_AT_ONCE: Final = 32


def transactional_id(config: Config, identity: str) -> str:
    """That of a worker's producer for one stage. Neither a group nor a topic has a colon in its name."""
    return f"{_prefix(config)}{identity}"


def _prefix(config: Config) -> str:
    return f"{config.group}-worker:{config.source}:"


class LeftOpen:
    """What workers have left open that are no members of the group any more, such as one that was killed.

    `identities` asks for those of the present members; None: they are not known, and nothing is ended.
    """

    def __init__(self, config: Config, identities: Callable[[], Awaitable[Collection[str] | None]]) -> None:
        self._config, self._identities = config, identities
        #: There may be something: a broker did not answer, or it was not known who lives.
        self.is_doubtful = False
        #: Brokers that do not list transactions.
        self._silent: set[int] = set()

    async def end(self, client: Any) -> None:
        """End it, as far as it is known now; `client` is aiokafka's. Raises KafkaError for what cannot be retried."""
        self.is_doubtful = not await self._end(client)

    async def _end(self, client: Any) -> bool:
        """Whether nothing is left."""
        prefix = _prefix(self._config)
        answers = await asyncio.gather(
            *(self._listed(client, each.nodeId) for each in client.cluster.brokers())
        )
        found = [id_ for answer in answers for id_ in answer or () if id_.startswith(prefix)]
        if found:
            try:
                living = await _soon(self._identities())
            except RequestTimedOutError:
                living = None
            if living is None:
                return False
            dead = [each for each in found if each.removeprefix(prefix) not in living]
            for each in dead:
                log.info("ending the transaction that %s has left open", each)
            await _fence_all(self._config, client, dead)
        return None not in answers

    async def _listed(self, client: Any, node: int) -> list[str] | None:
        """The transactional ids of open transactions; None: not known now. Brokers before Kafka 3.0 list none."""
        if node in self._silent:
            return []
        try:
            answer = await _soon(client.send(node, ListTransactionsRequest(["Ongoing"])))
            if answer.error_code != NoError.errno:
                raise for_code(answer.error_code)
        except (IncompatibleBrokerVersion, NotImplementedError):
            self._silent.add(node)
            log.info(
                "broker %d does not tell its open transactions: those of dead workers end by themselves", node
            )
            return []
        except KafkaError as error:
            if not error.retriable:
                raise
            log.info("broker %d does not answer which transactions are open: %r", node, error)
            return None
        return [id_ for id_, _, _, _ in answer.transactions]


class Patience:
    """With transactions that others have open: meanwhile `end` ends those of dead workers, see `LeftOpen.end`.

    Not once only: a broker may not answer, and who lives is not known during a rebalance.
    """

    def __init__(self, end: Callable[[], Awaitable[None]] | None = None) -> None:
        self._end, self._begun = end, time.monotonic()
        self._ended = self._warned = 0.0

    async def wait(self, what: str) -> None:
        """Pause before the next look whether they have ended; after a while the log says `what` is waited for."""
        waited = time.monotonic() - self._begun
        # The marker of one that is over comes in a moment.
        if waited - self._warned >= (_WARN_AGAIN if self._warned else _WARN_AFTER):
            self._warned = waited
            log.warning("%s", what)
        if self._end is not None and waited - self._ended >= _END_SECONDS:
            self._ended = waited
            await self._end()
        await asyncio.sleep(min(0.5, 0.005 + waited / 4))


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
            node = await _soon(client.coordinator_lookup(CoordinationType.TRANSACTION, id_))
            answer = await _soon(client.send(node, request, group=ConnectionGroup.COORDINATION))
        except KafkaError as error:
            if not error.retriable:
                raise
        else:
            if answer.error_code == NoError.errno:
                return
            if answer.error_code not in _AGAIN:
                raise for_code(answer.error_code)(id_)
        await asyncio.sleep(_RETRY_SECONDS)


async def _soon(answer: Awaitable[Any]) -> Any:
    """The answer of a broker, which may be gone without a trace: nothing is to wait for it for long.

    Raises RequestTimedOutError.
    """
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await answer
    except TimeoutError as error:
        raise RequestTimedOutError from error
