"""The topics at the brokers: made where they are missing, and looked at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from streams.brokers import CONNECT_SECONDS, Unreachable, connected
from streams.credentials import client_options
from streams.errors import OperatorError
from streams.settings import FOREVER, Settings
from streams.topics.comparison import ABSENT, COMPARED, Cluster, Existing, Finding, findings
from streams.topics.specification import INTERNAL, Topic, needed

log = logging.getLogger(__name__)

#: How long (s) all requests of one command may take.
_DEADLINE_SECONDS: Final = 15.0


class TopicsError(OperatorError):
    """A topic is missing, cannot be made, or would break the processor as it is."""


async def create(settings: Settings) -> list[Finding]:
    """Makes the missing topics, leaves the others alone, and says what is wrong with those as `check` does.

    Beside an existing calls topic the others get as many partitions as it has, whatever the settings say.
    Raises TopicsError when the brokers refuse.
    """
    async with _admin(settings) as admin:
        before = await _describe(admin, settings)
        names = {topic.name for topic in needed(settings)} - before.keys()
        await _make(admin, settings, names, before, settings.replication)
        found = findings(settings, await _described(admin, settings, names))
    return [
        Finding(each.topic, "created", each.message) if each.topic in names and each.verdict == "ok" else each
        for each in found
    ]


async def check(settings: Settings) -> list[Finding]:
    """Compares what exists with what is needed, without changing anything: one finding or more per topic."""
    async with _admin(settings) as admin:
        return findings(settings, await _describe(admin, settings))


async def require_calls(settings: Settings) -> None:
    """Raises TopicsError when the calls topic does not exist."""
    async with _admin(settings) as admin:
        _missing(await _describe(admin, settings), [settings.calls_topic])


async def prepare(settings: Settings) -> int:
    """What a worker needs before it starts: its internal topics made. Returns the partitions of its source.

    Raises TopicsError when a topic is missing or would break the processor; other findings are logged.
    """
    async with _admin(settings) as admin:
        cluster = await _describe(admin, settings)
        topics = needed(settings)
        _missing(cluster, [topic.name for topic in topics if topic.role not in INTERNAL])
        if names := {topic.name for topic in topics} - cluster.keys():
            await _make(admin, settings, names, cluster, cluster[settings.calls_topic].replicas)
            cluster = await _described(admin, settings, names)
    for finding in findings(settings, cluster):
        if finding.verdict == "error":
            raise TopicsError(f"topic {finding.topic} {finding.message}")
        if finding.verdict == "warning":
            log.warning("topic %s %s", finding.topic, finding.message)
    return cluster[settings.source_topic].partitions


async def make_redriven(settings: Settings) -> None:
    """Makes the topic that notes what has been sent back, unless it exists; as safe as the dead letters are.

    Raises TopicsError when there is no topic of dead letters, or the brokers refuse.
    """
    async with _admin(settings) as admin:
        cluster = await _describe(admin, settings)
        _missing(cluster, [settings.dead_topic])
        config = {"cleanup.policy": "compact", "retention.ms": str(FOREVER)}
        notes = Topic(settings.redriven_topic, "changelog", config)
        while notes.name not in {
            each["topic"] for each in await admin.describe_topics() if each["partitions"]
        }:
            await _new(admin, [(notes, 1)], cluster[settings.dead_topic].replicas)
            await asyncio.sleep(0.1)


def _missing(cluster: Mapping[str, Existing], names: Iterable[str]) -> None:
    for name in names:
        if name not in cluster:
            raise TopicsError(f"topic {name} {ABSENT}")


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(request_timeout_ms=int(CONNECT_SECONDS * 1000), **client_options(settings))
    async with connected(client, settings) as admin:
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                yield admin
        except TimeoutError:
            raise Unreachable(
                f"the Kafka brokers behind {settings.brokers} do not answer: are their advertised listeners "
                "reachable from here?"
            ) from None


async def _describe(admin: AIOKafkaAdminClient, settings: Settings) -> Cluster:
    """Those of the needed topics that exist."""
    names = {topic.name for topic in needed(settings)}
    # All topics are asked for: asking for some by name makes them where brokers create topics by themselves.
    found = {each["topic"]: each["partitions"] for each in await admin.describe_topics()}
    ours = {name: partitions for name, partitions in found.items() if name in names and partitions}
    configs = await _configs(admin, ours)
    return {
        name: Existing(
            len(partitions), min(len(each["replicas"]) for each in partitions), configs.get(name, {})
        )
        for name, partitions in ours.items()
    }


async def _configs(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    keys = dict.fromkeys(COMPARED, "")
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, keys) for name in names]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(asked):
        # One without the right to read it is left out: what cannot be seen is not complained about.
        for code, _, _, name, entries in response.resources:
            if not code:
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def _described(admin: AIOKafkaAdminClient, settings: Settings, names: set[str]) -> Cluster:
    """The cluster once it shows all of `names`: brokers learn of a new topic a moment after it is made."""
    while True:
        cluster = await _describe(admin, settings)
        if names <= cluster.keys():
            return cluster
        await asyncio.sleep(0.1)


async def _make(
    admin: AIOKafkaAdminClient, settings: Settings, names: Collection[str], cluster: Cluster, replicas: int
) -> None:
    """Make those of the needed topics, beside what exists."""
    counts = {name: topic.partitions for name, topic in cluster.items()}
    new = []
    for topic in needed(settings):
        counts.setdefault(topic.name, counts.get(topic.source, settings.partitions))
        if topic.name in names:
            new.append((_fitted(topic, cluster.get(settings.calls_topic)), counts[topic.name]))
    await _new(admin, new, replicas)


def _fitted(topic: Topic, calls: Existing | None) -> Topic:
    """As it is needed beside that calls topic: events are kept as long in the one as in the other."""
    kept = calls.config.get("retention.ms") if calls and topic.role == "repartition" else None
    return replace(topic, config={**topic.config, "retention.ms": kept}) if kept else topic


async def _new(admin: AIOKafkaAdminClient, topics: Iterable[tuple[Topic, int]], replicas: int) -> None:
    # What is acknowledged must outlive the loss of a replica, and one missing replica must not stop us.
    safe = {"min.insync.replicas": str(max(1, replicas - 1))}
    new = [
        NewTopic(topic.name, partitions, replicas, topic_configs={**topic.config, **safe})
        for topic, partitions in topics
    ]
    if not new:
        return
    response: Any = await admin.create_topics(new)
    for name, code, message in response.topic_errors:
        error = for_code(code)
        # Somebody else, perhaps another worker, was quicker.
        if code and error is not TopicAlreadyExistsError:
            if error is TopicAuthorizationFailedError:
                message = "the ACL Create on it is missing"
            raise TopicsError(f"topic {name} cannot be made: {message or error.__name__}")
