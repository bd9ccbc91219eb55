"""Kafka's requests that aiokafka lacks, or has in a version that does not do what is needed.

Transactions of a consumer group since Kafka 2.5 (KIP-447): offsets that are committed for a member of a generation, and
offsets that are only told once no transaction is about to change them. And the open transactions of a broker (KIP-664,
Kafka 3.0).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)
from aiokafka.structs import OffsetAndMetadata

#: To Kafka: the leader epoch is not known.
_NO_EPOCH = -1


#: An answer to `StableOffsetFetchRequest`.
UNSTABLE_OFFSET_COMMIT = 88
#: The answers of a coordinator to a member that is none of the present generation.
NOT_A_MEMBER = frozenset({22, 25, 82})  # ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID


class Membership(NamedTuple):
    """Who commits: a member of the group, in the generation in which the partitions were assigned to it."""

    generation: int
    member_id: str
    #: Of a static member.
    instance_id: str | None

    @property
    def is_known(self) -> bool:
        """Whether it says who we are. Kafka takes offsets without a generation from anybody."""
        return self.generation >= 0 and self.member_id != ""


class _TxnOffsetCommitResponse(Response):
    API_KEY, API_VERSION = 28, 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "errors",
            CompactArray(
                ("topic", CompactString()),
                (
                    "partitions",
                    CompactArray(("partition", Int32), ("error_code", Int16), ("tags", TaggedFields)),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _TxnOffsetCommitStruct(RequestStruct):
    API_KEY, API_VERSION = 28, 3
    RESPONSE_TYPE = _TxnOffsetCommitResponse
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("transactional_id", CompactString()),
        ("group_id", CompactString()),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", CompactString()),
        ("group_instance_id", CompactString()),
        (
            "topics",
            CompactArray(
                ("topic", CompactString()),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString()),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class TxnOffsetCommitRequest(Request[_TxnOffsetCommitStruct]):
    """Offsets of a group join a transaction, if the member is one of the present generation."""

    API_KEY = 28

    def __init__(
        self,
        transactional_id: str,
        producer: tuple[int, int],
        group: str,
        member: Membership,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
    ) -> None:
        """`producer` is its id and epoch."""
        self._transactional_id, self._producer, self._group = transactional_id, producer, group
        self._member, self._offsets = member, offsets

    def build(self, request_struct_class: type[_TxnOffsetCommitStruct]) -> _TxnOffsetCommitStruct:
        topics: dict[str, list[tuple[int, int, int, str, dict[int, bytes]]]] = {}
        for place, offset in self._offsets.items():
            topics.setdefault(place.topic, []).append(
                (place.partition, offset.offset, _NO_EPOCH, offset.metadata, {})
            )
        return request_struct_class(
            self._transactional_id,
            self._group,
            *self._producer,
            *self._member,
            [(topic, partitions, {}) for topic, partitions in topics.items()],
            {},
        )


class _OffsetFetchResponse(Response):
    API_KEY, API_VERSION = 9, 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString()),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString()),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _OffsetFetchStruct(RequestStruct):
    API_KEY, API_VERSION = 9, 7
    RESPONSE_TYPE = _OffsetFetchResponse
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("group_id", CompactString()),
        (
            "topics",
            CompactArray(
                ("topic", CompactString()), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class StableOffsetFetchRequest(Request[_OffsetFetchStruct]):
    """The offsets of a group; UNSTABLE_OFFSET_COMMIT for a partition whose offset a transaction may yet change."""

    API_KEY = 9

    def __init__(self, group: str, topic: str, partitions: Collection[int]) -> None:
        self._group, self._topic, self._partitions = group, topic, partitions

    def build(self, request_struct_class: type[_OffsetFetchStruct]) -> _OffsetFetchStruct:
        return request_struct_class(self._group, [(self._topic, list(self._partitions), {})], True, {})


class _ListTransactionsResponse(Response):
    API_KEY, API_VERSION = 66, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("unknown_states", CompactArray(CompactString())),
        (
            "transactions",
            CompactArray(
                ("transactional_id", CompactString()),
                ("producer_id", Int64),
                ("state", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _ListTransactionsStruct(RequestStruct):
    API_KEY, API_VERSION = 66, 0
    RESPONSE_TYPE = _ListTransactionsResponse
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("states", CompactArray(CompactString())),
        ("producer_ids", CompactArray(Int64)),
        ("tags", TaggedFields),
    )


class ListTransactionsRequest(Request[_ListTransactionsStruct]):
    """The transactions in some states that a broker coordinates, as far as we may see them."""

    API_KEY = 66

    def __init__(self, states: Sequence[str]) -> None:
        self._states = list(states)

    def build(self, request_struct_class: type[_ListTransactionsStruct]) -> _ListTransactionsStruct:
        return request_struct_class(self._states, [], {})
