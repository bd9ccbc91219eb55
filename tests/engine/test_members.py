"""The address that a member tells the group, beside what the sticky assignor says and reads there."""

import pytest
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import GroupAuthorizationFailedError

from streams.engine.members import Member, MembersUnknownError, assignor, described

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
    made = assignor(HERE)
    first = made.metadata(["in"])
    made.on_assignment(ConsumerProtocolMemberAssignment(0, [("in", [2, 1])], b""))
    later = made.metadata(["in"])
    for said, held in ((first, []), (later, [TopicPartition("in", 2), TopicPartition("in", 1)])):
        assert StickyPartitionAssignor.parse_member_metadata(said).partitions == held
        assert described(group(("a", said.encode(), assigned(2, 1))), "in") == [Member("a", HERE, [1, 2])]


def test_a_member_that_tells_no_address_is_a_member_all_the_same() -> None:
    plain = StickyPartitionAssignor._metadata(["in"], [TopicPartition("in", 0)])
    without = ConsumerProtocolMemberMetadata(0, ["in"], b"")
    for said in (plain.encode(), without.encode(), b"", b"\x00garbage"):
        assert described(group(("a", said, b"")), "in") == [Member("a", "", [])]


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
