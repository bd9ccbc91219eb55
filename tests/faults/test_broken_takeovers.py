"""Every request of a takeover fails: the heir lives, nothing is lost or doubled, and no timeout is waited for."""

import asyncio
import time
from collections import Counter as Multiset
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError
from engine.counter import Counter, Silent
from faust.types import TP
from support.group import Group, membership, run
from support.kafka import Record, produce
from support.proxy import APIS

from streams.engine import identity, members, offsets, takeover
from streams.engine.engine import Engine
from streams.engine.fetch import RecordBatch
from streams.engine.members import assignor

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

#: What the transaction of the dead worker would be waited for.
TIMEOUT_SECONDS, BOUND_SECONDS = 60, 15
#: For which a broker is waited for, in these tests.
ANSWER_SECONDS = 0.3

REFUSALS = {
    "OffsetFetch": lambda _: {"error_code": 16},
    "FindCoordinator": lambda _: {"error_code": 15},
    "DescribeGroups": lambda _: {"groups": [(14, "", "", "", "", [])]},
    "InitProducerId": lambda _: {"error_code": 16},
    "AddPartitionsToTxn": lambda r: {"errors": [(topic, [(n, 51) for n in ns]) for topic, ns in r._topics]},
    "AddOffsetsToTxn": lambda _: {"error_code": 51},
    "EndTxn": lambda _: {"error_code": 16},
    "TxnOffsetCommit": lambda r: {"errors": [(p.topic, [(p.partition, 14, {})], {}) for p in r._offsets]},
    "ListTransactions": lambda _: {"error_code": 14},
}
"""Of requests: an answer that says to try again."""

KINDS = {*REFUSALS, "Produce", "Fetch", "ListOffsets", "Metadata", "DescribeConfigs"}


class Failing:
    """The first `times` requests of some kinds fail, each of them: those about another producer or group are others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kinds: set[str], how: str, times: int) -> None:
        seen: Multiset[str] = Multiset()
        #: Of which kinds requests have failed.
        self.kinds: set[str] = set()
        self._send = AIOKafkaClient.send

        async def send(client: Any, node: Any, request: Any, **options: Any) -> Any:
            kind, about = APIS.get(request.API_KEY, ""), f"{type(request).__name__} {_about(request)}"
            if kind not in kinds or seen[about] >= times:
                return await self._send(client, node, request, **options)
            seen[about] += 1
            self.kinds.add(kind)
            return await getattr(self, how)(client, node, request, options)

        monkeypatch.setattr(AIOKafkaClient, "send", send)

    async def unsent(self, *_: Any) -> Any:
        raise KafkaConnectionError("lost before the broker had the request")

    async def unanswered(self, client: Any, node: Any, request: Any, options: Any) -> Any:
        await self._send(client, node, request, **options)
        for connection in list(client._conns.values()):
            connection.close()
        raise KafkaConnectionError("lost before the answer was there")

    async def refused(self, _client: Any, _node: Any, request: Any, _options: Any) -> Any:
        return SimpleNamespace(**REFUSALS[APIS[request.API_KEY]](request))

    async def silent(self, *_: Any) -> Any:
        await asyncio.sleep(2 * ANSWER_SECONDS)
        raise RequestTimedOutError


def _about(request: Any) -> str:
    return str({k: v for k, v in vars(request).items() if "producer_" not in k and "batch" not in k})[:300]


class Consumer:
    """What an engine asks of its consumer, and of its application."""

    def __init__(self, consumer: Any, engine: Engine) -> None:
        self.consumer, self._member, self.engines = self, consumer, (engine,)
        self.crash, self.twin = AsyncMock(), AsyncMock(return_value=None)

    async def topic_id(self, topic: str) -> bytes | None:
        return await identity.topic_id(self._member._client, topic)

    async def partition_count(self, topic: str) -> int:
        return await identity.partition_count(self._member._client, topic)

    def membership(self, _generation: int) -> Any:
        return membership(self._member)

    async def stable_offsets(self, topic: str, numbers: Any) -> Any:
        return await offsets.stable(self._member._coordinator, topic, numbers)

    async def members(self) -> Any:
        return "", await members.members(self._member._coordinator, self.engines[0].config.source)

    def add_future(self, waiting: Any) -> None:
        waiting.close()  # to commit the beginning of a partition, which is committed here in any case


@pytest.fixture
def group(kafka: str, topic_name: str) -> Group:
    made = Group(kafka, topic_name)
    made.config = replace(
        made.config,
        topics={"counts": made.config.topics["out"]},
        processor=Counter,  # type: ignore[arg-type]
        transaction_timeout_ms=TIMEOUT_SECONDS * 1000,
    )
    return made


@asynccontextmanager
async def worker(group: Group) -> AsyncIterator[Engine]:
    """The engine of a member of the group, which has all partitions assigned."""
    engine = Engine(None, group.config, Silent())
    async with group.member(partition_assignment_strategy=[assignor("", engine.identity)]) as consumer:
        engine.app = Consumer(consumer, engine)
        try:
            yield engine
        finally:
            await engine.close()


async def take_over(engine: Engine) -> None:
    await engine.assign([TP(engine.config.source, number) for number in (0, 1)], 0)
    await engine.restore()


async def apply(engine: Engine, keys: list[bytes]) -> None:
    """Records of these keys lie in both partitions of the log; those that are not in the state are applied."""
    for number in (0, 1):
        records = [(n, 1_764_000_000_000, key, b"", ()) for n, key in enumerate(keys)]
        place = TopicPartition(engine.config.source, number)
        await engine.process(RecordBatch(place, 0, len(keys), records))


async def die_in_a_commit(group: Group, keys: list[bytes]) -> None:
    """A worker that has committed `a`, and whose transaction for the other keys is complete but for its end."""
    async with worker(group) as dead:
        await take_over(dead)
        await apply(dead, keys[:1])
        assert await dead.commit() == 2
        await apply(dead, keys)
        dead.writer._producer.commit_transaction = AsyncMock(side_effect=RuntimeError("killed"))
        assert await dead.commit() == 0


WAYS = {"unsent": KINDS, "unanswered": KINDS, "refused": set(REFUSALS), "silent": set(REFUSALS)}
EACH = [
    pytest.param(how, {kind}, marks=pytest.mark.slow) for how, kinds in WAYS.items() for kind in sorted(kinds)
]


def named(value: str | set[str]) -> str:
    return value if isinstance(value, str) else "".join(value) if len(value) == 1 else "all"


@pytest.mark.parametrize(("how", "kinds"), [*WAYS.items(), *EACH], ids=named)
def test_requests_of_a_takeover_fail(
    group: Group, monkeypatch: pytest.MonkeyPatch, how: str, kinds: set[str]
) -> None:
    monkeypatch.setattr(takeover, "_ANSWER_SECONDS", ANSWER_SECONDS)
    keys = [b"a", b"b", b"a", b"c"]
    records = [Record(b"", key, partition=number) for number in (0, 1) for key in keys]
    produce(group.brokers, group.config.source, records)

    async def work() -> None:
        await die_in_a_commit(group, keys)
        async with worker(group) as heir:
            failing, begun = Failing(monkeypatch, kinds, how, 1 if how == "silent" else 2), time.monotonic()
            await take_over(heir)
            assert {n: owned.next_offset for n, owned in heir.partitions.items()} == {0: 1, 1: 1}
            await apply(heir, keys)
            assert await heir.commit() == 2
            assert heir.failure is None
            assert time.monotonic() - begun < BOUND_SECONDS
            assert failing.kinds == kinds

    run(work())
    assert group.found() == [b"1", b"1", b"2", b"1"] * 2
    assert group.committed() == {0: 4, 1: 4}
