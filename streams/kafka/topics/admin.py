"""The topics at the brokers: created if they are missing, checked, and changed on demand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import (
    InvalidConfigurationError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from streams.errors import OperatorError
from streams.kafka import connecting
from streams.kafka.connecting import Unreachable
from streams.kafka.errors import told
from streams.kafka.errors.meanings import TABLE
from streams.kafka.topics.comparison import ABSENT, Finding, changes, findings, growth, summary
from streams.kafka.topics.existing import Existing, ExistingTopics, describe
from streams.kafka.topics.protocol import ChangeTopics
from streams.kafka.topics.specification import INTERNAL, Topic, everything, in_sync, needed, redriven
from streams.settings import Settings

log = logging.getLogger(__name__)

#: How long (s) all requests of one command may take together.
_DEADLINE_SECONDS: Final = 15.0


class TopicsError(OperatorError):
    """A topic is missing, cannot be created, or would break the processor as it is."""


async def create(settings: Settings) -> list[Finding]:
    """Creates the missing topics, and reports what is wrong, as `check` does.

    Adds partitions to topics whose source topic has gained some, and changes nothing else. If the calls topic exists,
    the others get as many partitions as it has, whatever the settings say. Raises TopicsError if the brokers refuse.
    """
    async with _admin(settings) as admin:
        cluster = await describe(admin, settings)
        names = {topic.name for topic in everything(settings)} - cluster.keys()
        left_out = await _make(admin, settings, names, cluster, settings.replication)
        before = await _until(admin, settings, lambda found: names <= found.keys())
        counts = growth(settings, before)
        await _grow(admin, counts)
        # Each request may go to another broker, which may not know of the changes yet.
        cluster = await _until(
            admin, settings, lambda found: _counts(found, dict.fromkeys(before, 1) | counts)
        )
    done = [Finding(name, "created", summary(cluster[name])) for name in names]
    done += [
        Finding(name, "grown", f"has {count} partitions now, {count - before[name].partitions} of them new")
        for name, count in counts.items()
    ]
    told = {each.topic for each in done}
    rest = [each for each in findings(settings, cluster) if each.verdict != "ok" or each.topic not in told]
    order = [topic.name for topic in everything(settings)]
    return sorted([*done, *left_out, *rest], key=lambda each: order.index(each.topic))


async def check(settings: Settings) -> list[Finding]:
    """Compares what exists with what is needed, without changing anything: at least one finding per topic."""
    async with _admin(settings) as admin:
        return findings(settings, await describe(admin, settings))


async def alter(
    settings: Settings, only: Collection[str] = (), dry_run: bool = False
) -> dict[str, dict[str, str]]:
    """Gives all needed topics, or `only` these, the settings that `check` asks for, and changes no others.

    Returns what was changed, or would be with `dry_run`: settings and their new values, by topic. Raises TopicsError
    for a topic that the brokers refuse to change; the others have been changed then.
    """
    async with _admin(settings) as admin:
        if unknown := sorted(set(only) - {topic.name for topic in everything(settings)}):
            raise TopicsError(f"topic {unknown[0]} is not one of those that the settings name")
        wanted = changes(settings, await describe(admin, settings), only)
        if dry_run or not wanted:
            return wanted
        response: Any = await admin._send_request(ChangeTopics(wanted))
        for code, message, _, topic in response.resources:
            if code:
                raise TopicsError(
                    f"topic {topic} cannot be changed: {_reason(code, message, 'AlterConfigs')}"
                )
        await _until(admin, settings, lambda found: _has(found, wanted))
    return wanted


async def require_calls(settings: Settings) -> None:
    """Raises TopicsError if the calls topic does not exist."""
    async with _admin(settings) as admin:
        _missing(await describe(admin, settings), [settings.calls_topic])


async def prepare(settings: Settings) -> int:
    """Creates the internal topics that a worker needs before it starts.

    Returns the partitions of its source. Raises TopicsError if a topic is missing or would break the processor; other
    findings are logged, including partitions of the source that have to wait.
    """
    async with _admin(settings) as admin:
        cluster = await describe(admin, settings)
        topics = needed(settings)
        _missing(cluster, [topic.name for topic in topics if topic.role not in INTERNAL])
        if names := {topic.name for topic in topics} - cluster.keys():
            replicas = cluster[settings.calls_topic].replicas
            for finding in await _make(admin, settings, names, cluster, replicas):
                log.warning("topic %s %s", finding.topic, finding.message)
            cluster = await _until(admin, settings, lambda found: names <= found.keys())
    for finding in findings(settings, cluster):
        if finding.topic == settings.redriven_topic:
            continue  # a worker does not need it
        if finding.verdict == "error" and not finding.waits:
            raise TopicsError(f"topic {finding.topic} {finding.message}")
        if finding.verdict in ("error", "warning"):
            log.warning("topic %s %s", finding.topic, finding.message)
    return cluster[settings.source_topic].partitions


async def make_redriven(settings: Settings) -> None:
    """Creates the topic that records what has been sent back, unless it exists; it is as safe as the dead letters.

    Raises TopicsError if there is no dead-letter topic, or the brokers refuse.
    """
    async with _admin(settings) as admin:
        cluster = await describe(admin, settings)
        _missing(cluster, [settings.dead_topic])
        wanted = redriven(settings)
        while wanted.name not in {
            each["topic"] for each in await admin.describe_topics() if each["partitions"]
        }:
            await _new(admin, [(wanted, 1)], cluster[settings.dead_topic].replicas)
            await asyncio.sleep(0.1)


def _missing(cluster: Mapping[str, Existing], names: Iterable[str]) -> None:
    for name in names:
        if name not in cluster:
            raise TopicsError(f"topic {name} {ABSENT}")


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    async with connecting.admin(settings) as client:
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                yield client
        except TimeoutError:
            raise Unreachable(
                f"the Kafka brokers behind {settings.brokers} do not answer: check that their "
                "advertised listeners can be reached from here"
            ) from None


async def _until(
    admin: AIOKafkaAdminClient, settings: Settings, shown: Callable[[ExistingTopics], bool]
) -> ExistingTopics:
    """The cluster once it shows what was done, which brokers learn a moment later."""
    while True:
        cluster = await describe(admin, settings)
        if shown(cluster):
            return cluster
        await asyncio.sleep(0.1)


def _has(cluster: ExistingTopics, changed: Mapping[str, Mapping[str, str]]) -> bool:
    return all(
        topic in cluster and change.items() <= cluster[topic].config.items()
        for topic, change in changed.items()
    )


def _counts(cluster: ExistingTopics, least: Mapping[str, int]) -> bool:
    return all(name in cluster and cluster[name].partitions >= count for name, count in least.items())


async def _make(
    admin: AIOKafkaAdminClient,
    settings: Settings,
    names: Collection[str],
    cluster: ExistingTopics,
    replicas: int,
) -> list[Finding]:
    """Create these topics in addition to what exists; returns the findings about them."""
    counts = {name: topic.partitions for name, topic in cluster.items()}
    new = []
    for topic in everything(settings):
        counts.setdefault(topic.name, topic.partitions or counts.get(topic.source, settings.partitions))
        if topic.name in names:
            new.append((_fitted(topic, cluster.get(settings.calls_topic)), counts[topic.name]))
    return await _new(admin, new, replicas)


def _fitted(topic: Topic, calls: Existing | None) -> Topic:
    """The topic as needed for that calls topic: events are kept as long, and dead letters fit unchanged."""
    if calls is None or topic.role not in ("repartition", "dead"):
        return topic
    config = dict(topic.config)
    if largest := calls.config.get("max.message.bytes"):
        config["max.message.bytes"] = str(max(int(config["max.message.bytes"]), int(largest) + _ADDED_BYTES))
    if topic.role == "repartition":
        config["retention.ms"] = calls.config.get("retention.ms", config["retention.ms"])
    return replace(topic, config=config)


async def _grow(admin: AIOKafkaAdminClient, counts: Mapping[str, int]) -> None:
    """Give topics more partitions, in this order: outputs come before the changelog, for which workers wait."""
    for topic, count in counts.items():
        try:
            await admin.create_partitions({topic: NewPartitions(count)})
        except TopicAuthorizationFailedError:
            raise TopicsError(
                f"topic {topic} cannot get {count} partitions: {_LACKS.format('Alter')}"
            ) from None
        except KafkaError as error:
            raise TopicsError(f"topic {topic} cannot get {count} partitions: {told(error)}") from error


async def _new(
    admin: AIOKafkaAdminClient, topics: Iterable[tuple[Topic, int]], replicas: int
) -> list[Finding]:
    """Create topics; returns which of their settings these brokers do not know."""
    safe = {"min.insync.replicas": str(in_sync(replicas))}
    left = {topic.name: (dict(topic.config) | safe, partitions) for topic, partitions in topics}
    left_out: list[Finding] = []
    while left:
        new = [
            NewTopic(name, count, replicas, topic_configs=config) for name, (config, count) in left.items()
        ]
        response: Any = await admin.create_topics(new)
        for name, code, message in response.topic_errors:
            config, _ = left[name]
            unknown = next((each for each in config if each in (message or "")), None)
            if for_code(code) is InvalidConfigurationError and unknown and "Unknown" in message:
                del config[unknown]
                left_out.append(Finding(name, "warning", f"was created without {unknown}, {_UNKNOWN}"))
                continue
            # Another process, such as another worker, may have been faster.
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise TopicsError(f"topic {name} cannot be created: {_reason(code, message, 'Create')}")
            del left[name]
    return left_out


#: The size of headers that are added to a record as a dead letter or in the repartition topic.
_ADDED_BYTES: Final = 64 * 1024
_LACKS: Final = "the ACL {} on it is missing"
#: The limit on timestamps is the only setting that some supported brokers do not know.
_UNKNOWN: Final = (
    "which these brokers do not know (it was added in Kafka 3.6): unless their "
    "log.message.timestamp.difference.max.ms is lowered, they accept any timestamp, as is needed"
)


def _reason(code: int, message: str | None, operation: str) -> str:
    """Why the brokers refuse what needs that operation on the topic."""
    error = for_code(code)
    if error is TopicAuthorizationFailedError:
        return _LACKS.format(operation)
    return message or TABLE[error.__name__].says
