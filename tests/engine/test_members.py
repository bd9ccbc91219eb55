"""The address that a member tells the group, beside what the sticky assignor says and reads there."""

import asyncio
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.sticky.sticky_assignor import (
    StickyAssignorUserDataV1,
    StickyPartitionAssignor,
)
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import GroupAuthorizationFailedError
from support.load import produce_calls
from support.worker import Setup, Worker, wait_for

from streams.engine.members import Member, MembersUnknownError, _FormerUserData, assignor, described

HERE = "http://worker-0.example.com:6066"


def group(*members: tuple[str, bytes, bytes], state: str = "Stable", code: int = 0) -> tuple[object, ...]:
    told = [(name, "client", "/127.0.0.1", said, given) for name, said, given in members]
    return code, "group", state, "consumer", "sticky", told


def assigned(*partitions: int) -> bytes:
    found: bytes = ConsumerProtocolMemberAssignment(
        0, [("in", list(partitions)), ("other", [9])], b""
    ).encode()
    return found


def test_the_others_read_the_address_and_the_assignor_what_it_has_always_read() -> None:
    made = assignor(HERE, "worker-0")
    first = made.metadata(["in"])
    made.on_assignment(ConsumerProtocolMemberAssignment(0, [("in", [2, 1])], b""))
    later = made.metadata(["in"])
    for said, held in ((first, []), (later, [TopicPartition("in", 2), TopicPartition("in", 1)])):
        assert StickyPartitionAssignor.parse_member_metadata(said).partitions == held
        assert described(group(("a", said.encode(), assigned(2, 1))), "in") == [
            Member("a", HERE, [1, 2], "worker-0")
        ]


class Cluster:
    """Topics by name, with their number of partitions."""

    def __init__(self, **topics: int) -> None:
        self._topics = topics

    def topics(self) -> set[str]:
        return {*self._topics, "foreign"}

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._topics[topic])) if topic in self._topics else None


def shares(
    cluster: Cluster, members: dict[str, list[tuple[str, list[int]]]]
) -> dict[str, dict[str, list[int]]]:
    """Who gets what, after they had that; at first they had nothing."""
    topics = sorted(cluster.topics() - {"foreign"})
    made, said = assignor(HERE, "worker-0"), {}
    for member, held in members.items():
        places = [TopicPartition(topic, number) for topic, numbers in held for number in numbers]
        said[member] = made._metadata(topics, places, 1 if places else -1)
    return {member: dict(given.assignment) for member, given in made.assign(cluster, said).items()}


def test_each_topic_is_spread_over_all_members() -> None:
    cluster = Cluster(calls=4, internal=4)
    first = shares(cluster, {"a": []})
    assert first == {"a": {"calls": [0, 1, 2, 3], "internal": [0, 1, 2, 3]}}
    two = shares(cluster, {"a": [*first["a"].items()], "b": []})
    assert {member: [len(numbers) for numbers in share.values()] for member, share in two.items()} == {
        "a": [2, 2],
        "b": [2, 2],
    }
    again = shares(cluster, {member: [*share.items()] for member, share in two.items()})
    assert again == two, "what need not move does not"
    three = shares(cluster, {**{member: [*share.items()] for member, share in two.items()}, "c": []})
    for topic in ("calls", "internal"):
        assert sorted(n for share in three.values() for n in share.get(topic, [])) == [0, 1, 2, 3]
        assert max(len(share.get(topic, [])) for share in three.values()) == 2
    many = shares(cluster, {f"m{n}": [] for n in range(8)})
    assert all(sum(map(len, share.values())) == 1 for share in many.values()), "nobody is idle"


def test_of_two_that_claim_a_partition_the_one_of_the_later_generation_keeps_it() -> None:
    """A worker that was paused comes back, and claims what another one has by now."""
    cluster, said = Cluster(calls=4), {}
    claims = (("a", 4, [0, 1]), ("b", 5, [0, 1, 2]), ("c", 5, [3]))
    for member, generation, held in claims:
        made = assignor(HERE, member, lambda generation=generation: generation)  # type: ignore[misc]
        made.on_assignment(ConsumerProtocolMemberAssignment(0, [("calls", held)], b""))
        said[member] = made.metadata(["calls"])
    given = {member: dict(share.assignment)["calls"] for member, share in made.assign(cluster, said).items()}
    assert len(set(given["b"]) & {0, 1, 2}) == 2, "all that its share of the partitions allows"
    assert given["c"] == [3]


@pytest.mark.kafka
def test_a_worker_tells_its_generation(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka)
    setup.create()
    produce_calls(kafka, setup.calls, 10, 1)
    with Worker(setup, tmp_path / "one") as one:
        wait_for("it is at work", lambda: bool(one.assignments()))
        assert generations(kafka, setup.group) == [-1], "it had none when it joined"
        with Worker(setup, tmp_path / "two") as two:
            wait_for("they share", lambda: bool(two.assignments() and two.assignments()[-1]))
            new, old = generations(kafka, setup.group)
            assert new == -1 < old


def generations(brokers: str, group: str) -> list[int]:
    """What the members of a group have told when they joined, in order."""

    async def asked() -> list[int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
        await admin.start()
        try:
            (answer,) = await admin.describe_consumer_groups([group])
        finally:
            await admin.close()
        told = [ConsumerProtocolMemberMetadata.decode(said) for _, _, _, said, _ in answer.groups[0][5]]
        return sorted(StickyPartitionAssignor.parse_member_metadata(each).generation for each in told)

    return asyncio.run(asked())


def test_a_member_that_tells_no_address_is_a_member_all_the_same() -> None:
    plain = StickyPartitionAssignor._metadata(["in"], [TopicPartition("in", 0)])
    without = ConsumerProtocolMemberMetadata(0, ["in"], b"")
    for said in (plain.encode(), without.encode(), b"", b"\x00garbage"):
        assert described(group(("a", said, b"")), "in") == [Member("a", "", [])]


def test_a_worker_of_release_0_1_tells_its_address_alone() -> None:
    own = StickyAssignorUserDataV1.decode(StickyPartitionAssignor._metadata(["in"], []).user_data)
    told = _FormerUserData(own.previous_assignment, own.generation, HERE).encode()
    said = ConsumerProtocolMemberMetadata(0, ["in"], told)
    assert described(group(("a", said.encode(), assigned(3))), "in") == [Member("a", HERE, [3], "")]


@pytest.mark.parametrize(
    ("state", "why"),
    [("PreparingRebalance", "rebalance"), ("CompletingRebalance", "rebalance"), ("Empty", "no worker")],
)
def test_who_is_in_the_group_is_known_only_while_it_is_stable(state: str, why: str) -> None:
    with pytest.raises(MembersUnknownError, match=why):
        described(group(state=state), "in")


def test_an_error_of_kafka_is_raised() -> None:
    with pytest.raises(GroupAuthorizationFailedError):
        described(group(code=30), "in")
