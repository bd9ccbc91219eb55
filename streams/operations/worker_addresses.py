"""Where the workers of the group are, according to the group's coordinator."""

from __future__ import annotations

import asyncio

from aiokafka.errors import KafkaError

from streams.engine.members import MembersUnknownError, described
from streams.errors import OperatorError
from streams.kafka.connecting import CONNECT_SECONDS, Unreachable, admin
from streams.kafka.errors import told
from streams.settings import PREFIX, Settings


async def addresses(settings: Settings) -> list[str]:
    """The URLs of the workers of the group that announce one. Raises OperatorError if there are none."""
    async with admin(settings) as client:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                (answer,) = await client.describe_consumer_groups([settings.app_id])
            members = described(answer.groups[0], settings.calls_topic)
        except (KafkaError, MembersUnknownError) as error:
            raise OperatorError(
                f"group {settings.app_id} ({PREFIX}APP_ID): {told(error)}; ask again"
            ) from None
        except TimeoutError:
            raise Unreachable(
                f"group {settings.app_id} ({PREFIX}APP_ID): the brokers do not answer"
            ) from None
    if found := [member.address for member in members if member.address]:
        return found
    raise OperatorError(
        f"group {settings.app_id} ({PREFIX}APP_ID): no worker announces its address: pass --url"
    )
