"""What the topics that are written take: learned from the brokers, and again when they refuse something."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.errors import (
    BrokerResponseError,
    InvalidTimestampError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from aiokafka.protocol.admin import DescribeConfigsRequest

from streams.engine import clients

log = logging.getLogger(__name__)

REFUSALS: Final = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidTimestampError)
"""With these a broker refuses a batch because of a setting of its topic."""

_FOREVER: Final = -1
#: Milliseconds: no limit, to Kafka; and for how long a batch may be under way to its broker.
_ANY: Final = 2**63 - 1
_UNDER_WAY: Final = 60_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one topic; the defaults are Kafka's. Times are in milliseconds."""

    #: Of a batch, compressed as it is.
    max_bytes: int = 1024 * 1024 + 12
    #: After which a record is deleted, by its timestamp; -1: never.
    retention: int = 7 * 24 * 3_600_000
    #: How far a timestamp may lie before and after the broker's clock.
    before: int = _ANY
    after: int = 3_600_000

    def times(self, now: int) -> tuple[int, int]:
        """The first and the last timestamp that a record may have and stay; others are given the wall clock's.

        A record that Kafka would delete within half of its retention is as good as lost.
        """
        kept = self.before if self.retention == _FOREVER else min(self.before, self.retention // 2)
        return max(0, now - kept + _UNDER_WAY), now + max(0, self.after - _UNDER_WAY)


def limits_of(config: Mapping[str, str]) -> Limits:
    """The limits that a topic's settings mean; those that are not given are Kafka's defaults."""
    default = Limits()
    # A topic that is only compacted deletes nothing by its age.
    deletes = "delete" in config.get("cleanup.policy", "delete")
    return Limits(
        max_bytes=int(config.get("max.message.bytes", default.max_bytes)),
        retention=int(config.get("retention.ms", default.retention)) if deletes else _FOREVER,
        before=int(config.get("message.timestamp.before.max.ms", default.before)),
        after=int(config.get("message.timestamp.after.max.ms", default.after)),
    )


class Topics:
    """The limits of the topics that one engine writes."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = sorted(set(names))
        self._said: dict[str, Limits] = {}
        #: Of topics that take less than they say: what they said, and what is held instead.
        self._narrowed: dict[str, tuple[Limits, Limits]] = {}

    def of(self, name: str) -> Limits:
        """What is known of a topic."""
        said = self._said.get(name, Limits())
        because, held = self._narrowed.get(name, (None, said))
        return held if because == said else said

    async def learn(self, client: Any) -> None:
        """Ask the brokers, by an aiokafka client. Without the right to know, Kafka's defaults are taken for granted."""
        keys = [
            "cleanup.policy",
            "max.message.bytes",
            "retention.ms",
            "message.timestamp.before.max.ms",
            "message.timestamp.after.max.ms",
        ]
        resources = [(ConfigResourceType.TOPIC, name, keys) for name in self.names]
        answer = await clients.ask(client, DescribeConfigsRequest(resources, False))
        for code, _, _, name, entries in answer.resources:
            if not code:
                self._said[name] = limits_of({entry[0]: entry[1] for entry in entries})

    async def refused(self, name: str, error: BrokerResponseError, client: Any) -> None:
        """A broker has refused a batch, by one of `REFUSALS`: what the topic takes now is less than was known.

        Where it says nothing new (it may not be asked, or compresses in another way), half is held.
        """
        held = self.of(name)
        await self.learn(client)
        said = self.of(name)
        if isinstance(error, InvalidTimestampError):
            if (said.before, said.after) == (held.before, held.after):
                said = replace(held, before=0, after=0)
            what = f"timestamps lie between {said.before} ms before and {said.after} ms after the present"
        else:
            if said.max_bytes >= held.max_bytes:
                said = replace(held, max_bytes=held.max_bytes // 2)
            what = f"batches have {said.max_bytes} bytes at most"
        self._narrowed[name] = (self._said.get(name, Limits()), said)
        log.warning("topic %s has refused a batch (%s): from now on %s", name, error.message, what)
