"""Which topic of a name this is: Kafka's id of it, which a topic that was deleted and created again does not share.

aiokafka speaks of topics by name only. To it a topic that was created again is the old one, in which the offsets of the
state would, once it is long enough, point at records of something else.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from aiokafka.errors import UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from streams.engine import clients

_KEY, _VERSION = 3, 10


class _Uuid(AbstractType[bytes]):
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class _MetadataResponse(Response):
    API_KEY, API_VERSION = _KEY, _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                # What follows is of no interest here.
            ),
        ),
    )


class _MetadataStruct(RequestStruct):
    API_KEY, API_VERSION = _KEY, _VERSION
    RESPONSE_TYPE = _MetadataResponse
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataStruct]):
    API_KEY = _KEY

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        return request_struct_class([(bytes(16), self._topic, {})], False, False, False, {})


async def topic_id(client: Any, topic: str) -> bytes | None:
    """The id of a topic; None when there is no topic of this name. Raises KafkaError when it cannot be known."""
    found = await _described(client, topic)
    return None if found is None else bytes(found[0])


async def partition_count(client: Any, topic: str) -> int:
    """How many partitions a topic has, as a broker says now; 0 without a topic. Raises as `topic_id` does."""
    found = await _described(client, topic)
    return 0 if found is None else len(found[1])


async def _described(client: Any, topic: str) -> tuple[bytes, list[Any]] | None:
    ((code, _, found, _, partitions),) = (await clients.ask(client, _MetadataRequest(topic))).topics
    if code == UnknownTopicOrPartitionError.errno:
        return None
    if code:
        raise for_code(code)
    return found, partitions
