"""Who else is in the group, who gets which partitions, and where each is: members tell their address when they join.

The address rides in the user data of the member's subscription, behind what the sticky assignor says there and reads
again; so it lies with the group's coordinator, moves with each rebalance, and ends with the member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import (
    StickyAssignorUserDataV1,
    StickyPartitionAssignor,
)
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.struct import Struct
from aiokafka.protocol.types import Schema, String

from streams.engine.failures import about

#: Kafka's number of the error.
_FENCED_INSTANCE_ID = 82
#: Of the text of a UUID.
_UUID_LENGTH = 36


class MembersUnknownError(Exception):
    """The coordinator does not say who is in the group: a rebalance is under way, or nobody is in it."""


class Member(NamedTuple):
    """A member of a group in which no rebalance is under way."""

    id: str
    #: Where it can be reached, in its own words; empty when it tells nothing.
    address: str
    #: The partitions of the source that are assigned to it.
    partitions: list[int]
    #: Names its transactional ids; empty for a worker of release 0.1.
    identity: str = ""


class _FormerUserData(Struct):
    """As release 0.1 has it."""

    SCHEMA = Schema(
        *zip(StickyAssignorUserDataV1.SCHEMA.names, StickyAssignorUserDataV1.SCHEMA.fields, strict=True),
        ("address", String("utf-8")),
    )


class _UserData(Struct):
    SCHEMA = Schema(
        *zip(_FormerUserData.SCHEMA.names, _FormerUserData.SCHEMA.fields, strict=True),
        ("identity", String("utf-8")),
    )


def assignor(address: str, identity: str, generation: Callable[[], int] = lambda: -1) -> type[Any]:
    """The sticky assignor, which tells the others this address and identity (see `takeover`).

    A member without them can be in the same group. `generation` gives that of the group, as of the last assignment: of
    two members that claim a partition, the one of the later generation keeps it. aiokafka would not tell it.

    It assigns topic by topic: with all topics at once a member may get the whole of one, and another the whole of the
    next, which is ten times the work.
    """

    class Assignor(StickyPartitionAssignor):
        @classmethod
        def assign(
            cls, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
        ) -> dict[str, ConsumerProtocolMemberAssignment]:
            known = {member: cls.parse_member_metadata(said) for member, said in members.items()}
            given: dict[str, dict[str, list[int]]] = {member: {} for member in members}
            for topic in sorted({topic for each in known.values() for topic in each.subscription}):
                asking = [member for member, each in known.items() if topic in each.subscription]
                names = _by_load({member: given[member] for member in asking})
                asked = {
                    name: cls._metadata(
                        [topic],
                        [held for held in known[member].partitions if held.topic == topic],
                        known[member].generation,
                    )
                    for name, member in names.items()
                }
                for name, share in super().assign(cluster, asked).items():
                    given[names[name]] |= dict(share.assignment)
            return {
                member: ConsumerProtocolMemberAssignment(cls.version, sorted(share.items()), b"")
                for member, share in given.items()
            }

        @classmethod
        def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
            super().on_assignment(assignment)
            cls.on_generation_assignment(generation())

        @classmethod
        def _metadata(
            cls, topics: Iterable[str], partitions: list[TopicPartition] | None, generation: int = -1
        ) -> ConsumerProtocolMemberMetadata:
            said = super()._metadata(topics, partitions or [], generation)
            own = StickyAssignorUserDataV1.decode(said.user_data)
            data = _UserData(own.previous_assignment, own.generation, address, identity)
            return ConsumerProtocolMemberMetadata(said.version, said.subscription, data.encode())

    return Assignor


def _by_load(given: Mapping[str, Mapping[str, list[int]]]) -> dict[str, str]:
    """Members by names that begin with how many partitions they have: of equals the assignor takes the first."""
    return {f"{sum(map(len, topics.values())):09}{member}": member for member, topics in given.items()}


def described(group: tuple[Any, ...], source: str) -> list[Member]:
    """The members in a group's description, with their partitions of a topic.

    Raises MembersUnknownError when there are none, or a rebalance is under way; KafkaError when Kafka answers with one.
    """
    code, _, state, _, _, members = group[:6]
    if code:
        raise for_code(code)
    if state != "Stable":
        raise MembersUnknownError(
            "no worker is in the group" if state in ("Empty", "Dead") else "a rebalance is under way"
        )
    found = []
    for id_, _, _, said, given in members:
        address, identity = _told(said)
        found.append(Member(id_, address, _partitions(given, source), identity))
    return found


def _told(metadata: bytes) -> tuple[str, str]:
    """The address and the identity that a member tells; empty where it tells none."""
    try:
        told = ConsumerProtocolMemberMetadata.decode(metadata).user_data
    except Exception:  # of another assignor
        return "", ""
    for schema in (_UserData, _FormerUserData):
        try:
            data = schema.decode(told)
        except Exception:  # of another assignor, or an older worker
            continue
        return str(data.address), str(getattr(data, "identity", ""))
    return "", ""


def _partitions(assignment: bytes, source: str) -> list[int]:
    if not assignment:
        return []
    places = ConsumerProtocolMemberAssignment.decode(assignment).partitions()
    return sorted(place.partition for place in places if place.topic == source)


async def members(coordinator: Any, source: str) -> list[Member]:
    """The members of the group of an aiokafka consumer's coordinator, as Kafka's coordinator has them now.

    Raises MembersUnknownError when it does not say.
    """
    try:
        answer = await coordinator._send_req(DescribeGroupsRequest([coordinator.group_id]))
        return described(answer.groups[0], source)
    except KafkaError as error:
        raise MembersUnknownError("the brokers do not say who is in the group") from error


async def twin(coordinator: Any, former: str = "") -> KafkaError | None:
    """What is to be said if another member has our group instance id; None when none has, or it is not known.

    `former` is the id that we had in the group before, where it has given us none since. Kafka makes the id of a static
    member from its group instance id and a UUID, and lets in the one that comes last.
    """
    instance = coordinator._group_instance_id
    if instance is None:
        return None
    try:
        answer = await coordinator._send_req(DescribeGroupsRequest([coordinator.group_id]))
    except KafkaError:
        return None
    ours = {coordinator.member_id, former}
    for id_, _, host, said, _ in answer.groups[0][5]:
        if id_[: -_UUID_LENGTH - 1] == instance and id_ not in ours:
            where = _told(said)[0] or str(host).lstrip("/")
            error: KafkaError = for_code(_FENCED_INSTANCE_ID)(instance)
            about(error, f"group {coordinator.group_id}, member {instance}, which is now at {where}")
            return error
    return None


def yield_to_twin(coordinator: Any) -> None:
    """Have a static member stay out of its group once another one has taken its place.

    aiokafka joins again as soon as the group does not know it, and so takes the place back, every few seconds and for
    ever. One whose session has expired while nobody took its place does join again.
    """
    join, former = coordinator._do_rejoin_group, ""

    async def join_unless_replaced(subscription: Any) -> Any:
        nonlocal former
        if (
            former
            and coordinator.member_id != former
            and (error := await twin(coordinator, former)) is not None
        ):
            raise error
        former = ""  # where an answer is lost we do not know under which id we are in the group
        joined = await join(subscription)
        if joined:
            former = coordinator.member_id
        return joined

    coordinator._do_rejoin_group = join_unless_replaced
