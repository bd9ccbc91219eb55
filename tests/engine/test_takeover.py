"""Who may commit: a member of the group's present generation; and what others have left open is ended."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import AsyncMock

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError, KafkaError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata
from support.group import Group, membership, run

from streams.engine import offsets, takeover
from streams.engine.offsets import NotAMemberError
from streams.engine.protocol import Membership

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]


@pytest.fixture
def group(kafka: str, topic_name: str) -> Group:
    return Group(kafka, topic_name)


async def until(what: Callable[[], bool]) -> None:
    while not what():  # noqa: ASYNC110 (nobody sets an event)
        await asyncio.sleep(0.02)


def test_only_a_member_of_the_present_generation_commits(group: Group) -> None:
    """A worker that was silent for too long and comes back: what it writes has no effect, and its next commit has.

    The former transaction must really be aborted, or the next one commits it as well.
    """

    async def work() -> None:
        async with group.member() as first, group.writer("one") as writer:
            writer.member = former = membership(first)
            await group.write(writer, b"1")
            async with group.member() as second:
                await until(
                    lambda: (
                        first._coordinator.generation == second._coordinator.generation > former.generation
                    )
                )
                with pytest.raises(NotAMemberError, match="IllegalGenerationError"):
                    await group.write(writer, b"of a former generation", next_offset=2)
                writer.member = membership(first)
                await group.write(writer, b"2", next_offset=2)

    run(work())
    assert group.found() == [b"1", b"2"]
    assert group.committed() == {0: 2}


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (Membership(-1, "", None), "no member of the group"),
        (Membership(3, "", None), "no member of the group"),
        (Membership(1, "somebody-else", None), "UnknownMemberIdError"),
        (Membership(1, "somebody-else", "worker-0"), "Fenced|UnknownError"),
    ],
    ids=["nobody", "a generation alone", "another", "another of the same name"],
)
def test_nobody_else_commits(group: Group, member: Membership, why: str) -> None:
    """Kafka takes offsets without a generation from anybody: they are not sent."""

    async def work() -> None:
        async with group.member(member.instance_id) as consumer, group.writer("one") as writer:
            assert membership(consumer).generation == 1
            writer.member = member
            with pytest.raises(NotAMemberError, match=why):
                await group.write(writer, b"of nobody")

    run(work())
    assert group.found() == []
    assert group.committed() == {}


def test_an_offset_that_a_transaction_is_about_to_change_is_not_told(group: Group) -> None:
    async def work() -> None:
        async with group.member() as consumer, group.writer("one") as writer:
            coordinator, writer.member = consumer._coordinator, membership(consumer)
            assert await offsets.stable(coordinator, group.config.source, [0, 1]) == ({}, set())
            await group.write(writer, b"1", next_offset=7)
            commit, seen = writer._producer.commit_transaction, []

            async def look_first() -> None:
                seen.append(await offsets.stable(coordinator, group.config.source, [0, 1]))
                await commit()

            writer._producer.commit_transaction = look_first
            await group.write(writer, b"2", number=1, next_offset=8)
            ((found, unstable),) = seen
            assert ({n: place.offset for n, place in found.items()}, unstable) == ({0: 7}, {1})
            while unstable:
                found, unstable = await offsets.stable(coordinator, group.config.source, [0, 1])
            assert found == {0: OffsetAndMetadata(7, "by b'1'"), 1: OffsetAndMetadata(8, "by b'2'")}

    run(work())


def test_no_offset_is_sent_before_all_records_are_acknowledged(group: Group) -> None:
    """The next owner then finds the transaction in the changelog, also a worker of release 0.1."""

    async def work() -> None:
        async with group.member() as consumer, group.writer("one") as writer:
            writer.member = membership(consumer)
            begin, send, acknowledged = (
                writer._begin,
                writer._producer.send_offsets_to_transaction,
                list[bool](),
            )

            async def begun() -> Any:
                nonlocal attempt
                attempt = await begin()
                return attempt

            async def look_first(*args: Any) -> None:
                acknowledged.extend(each.ack.done() for each in attempt.sent)
                await send(*args)

            attempt: Any = None
            writer._begin, writer._producer.send_offsets_to_transaction = begun, look_first  # type: ignore[method-assign]
            await group.write(writer, b"1")
            assert acknowledged == [True, True]

    run(work())


@pytest.mark.parametrize("lives", [True, False])
def test_a_transaction_of_a_worker_that_is_no_member_any_more_is_ended(group: Group, lives: bool) -> None:
    """Readers of the outputs, and the next owner, would wait for its timeout."""

    async def work() -> None:
        async with group.member() as consumer, group.writer("silent") as silent, group.writer("heir") as heir:
            silent.member = heir.member = membership(consumer)
            commit = silent._producer.commit_transaction

            async def taken_over() -> None:
                identities = AsyncMock(return_value={"heir", "silent"} if lives else {"heir"})
                await takeover.LeftOpen(group.config, identities).end(heir.client)
                identities.assert_awaited_once()
                await commit()

            silent._producer.commit_transaction = taken_over
            if lives:
                await group.write(silent, b"late")
            else:
                with pytest.raises(ProducerFenced):
                    await group.write(silent, b"late")
            await group.write(heir, b"of the heir", next_offset=9)

    run(work())
    assert group.found() == [*([b"late"] if lives else []), b"of the heir"]
    assert group.committed() == {0: 9}


def test_what_other_groups_and_other_stages_have_open_is_left_alone(group: Group) -> None:
    async def work() -> None:
        async with group.member() as consumer, group.writer("silent") as silent, group.writer("heir") as heir:
            silent.member = membership(consumer)
            commit = silent._producer.commit_transaction

            async def taken_over() -> None:
                for other in (
                    replace(group.config, group=f"{group.config.group}-worker"),
                    replace(group.config, group=group.config.group[:-1]),
                    replace(group.config, source=f"{group.config.source}.other"),
                ):
                    await takeover.LeftOpen(other, AsyncMock(return_value=set())).end(heir.client)
                # A rebalance is under way: who lives is not known.
                await takeover.LeftOpen(group.config, AsyncMock(return_value=None)).end(heir.client)
                await commit()

            silent._producer.commit_transaction = taken_over
            await group.write(silent, b"late")

    run(work())
    assert group.found() == [b"late"]


def test_a_worker_of_release_0_1_is_fenced_for_the_partitions_that_it_has_lost_and_no_others(
    group: Group,
) -> None:
    """It commits offsets without its generation: only its transactional id, one a partition, fences it."""
    out, source = group.config.topics["out"], group.config.source

    async def former(number: int) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **group.config.client, transactional_id=f"{group.config.group}-{source}-{number}"
        )
        await producer.start()
        await producer.begin_transaction()
        await producer.send_and_wait(out, b"of partition %d" % number, partition=0)
        place = TopicPartition(source, number)
        await producer.send_offsets_to_transaction({place: 5}, group.config.group)
        return producer

    async def work() -> None:
        async with group.writer("heir") as heir:
            lost, kept = await former(0), await former(1)
            try:
                await takeover.fence_former_release(group.config, heir.client, [0])
                await kept.commit_transaction()
                with pytest.raises(ProducerFenced):
                    await lost.commit_transaction()
            finally:
                await lost.stop()
                await kept.stop()

    run(work())
    assert group.found() == [b"of partition 1"]
    assert group.committed() == {1: 5}


class Client:
    """A broker that fails with an error; without one it has these transactions open."""

    def __init__(self, error: Exception | None, *ids: str) -> None:
        self.error, self.ids, self.cluster = error, ids, self

    def brokers(self) -> list[Any]:
        return [NamedTuple("Broker", [("nodeId", int)])(1)]

    async def send(self, *_: object, **__: object) -> Any:
        if self.error is not None:
            raise self.error
        return SimpleNamespace(error_code=0, transactions=[(each, 1, "Ongoing", {}) for each in self.ids])


@pytest.mark.parametrize("error", [IncompatibleBrokerVersion("not known"), NotImplementedError("v0")])
def test_brokers_before_3_0_are_not_asked_for_open_transactions(
    group: Group, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    caplog.set_level("INFO")
    left_open = takeover.LeftOpen(group.config, AsyncMock(side_effect=AssertionError))
    asyncio.run(left_open.end(Client(error)))
    assert not left_open.is_doubtful
    assert "end by themselves" in caplog.text


@pytest.mark.parametrize(
    ("error", "identities"),
    [(KafkaConnectionError("lost"), AsyncMock()), (None, AsyncMock(return_value=None))],
    ids=["a broker does not answer", "who lives is not known"],
)
def test_what_may_be_left_is_known_to_be_doubtful(
    group: Group, error: Exception | None, identities: AsyncMock
) -> None:
    left_open = takeover.LeftOpen(group.config, identities)
    open_id = takeover.transactional_id(group.config, "dead")
    asyncio.run(left_open.end(Client(error, open_id)))
    assert left_open.is_doubtful
    asyncio.run(left_open.end(Client(None)))
    assert not left_open.is_doubtful


@pytest.mark.parametrize("who", ["a broker", "the coordinator"])
def test_what_is_gone_without_a_trace_is_not_waited_for(
    group: Group, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """aiokafka waits for 40 s, longer than a transaction may be open."""
    monkeypatch.setattr(takeover, "_ANSWER_SECONDS", 0.1)

    async def silence(*_: object, **__: object) -> None:
        await asyncio.sleep(60)

    client = Client(None, takeover.transactional_id(group.config, "dead"))
    left_open = takeover.LeftOpen(group.config, silence)  # type: ignore[arg-type]
    if who == "a broker":
        monkeypatch.setattr(client, "send", silence)
    asyncio.run(asyncio.wait_for(left_open.end(client), 5))
    assert left_open.is_doubtful


def test_a_broker_that_does_not_say_who_coordinates_a_transaction_is_asked_again(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "_ANSWER_SECONDS", 0.1)
    client, asked = Client(None, takeover.transactional_id(group.config, "dead")), 0

    async def lookup(*_: object) -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.sleep(60)
        return 1

    monkeypatch.setattr(client, "coordinator_lookup", lookup, raising=False)
    left_open = takeover.LeftOpen(group.config, AsyncMock(return_value=set()))
    asyncio.run(asyncio.wait_for(left_open.end(client), 5))
    assert (asked, left_open.is_doubtful) == (2, False)


def test_a_refusal_is_raised(group: Group) -> None:
    with pytest.raises(KafkaError):
        asyncio.run(takeover.LeftOpen(group.config, AsyncMock()).end(Client(KafkaError("no"))))
