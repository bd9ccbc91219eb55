"""Records that the group was moved past: counted in the state until somebody accepts that.

A person accepts them with the offsets of a group of its own, so no worker need run, and none is disturbed. Its offset
in a partition says that what was skipped before it is accepted. A worker takes that over into its state, where it
lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from streams.engine.config import Config

#: How long (s) a worker waits for the brokers' answer before it asks again another time.
_ANSWER_SECONDS = 10.0


def acceptances(group: str) -> str:
    """The name of the group whose offsets say what is accepted."""
    return f"{group}-accepted"


async def accepted(config: Config) -> dict[TopicPartition, int]:
    """The offsets before which skipped records are accepted. Raises KafkaError or TimeoutError when it is not known."""
    admin = AIOKafkaAdminClient(**config.client)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await admin.start()
            found: Mapping[TopicPartition, OffsetAndMetadata] = await admin.list_consumer_group_offsets(
                acceptances(config.group)
            )
        return {tp: place.offset for tp, place in found.items()}
    finally:
        await admin.close()
