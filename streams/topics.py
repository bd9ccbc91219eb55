"""The topics that the processor needs: made, and compared with what exists (semantics, section 1).

Outputs and the changelog have as many partitions as the topic whose events are applied, since what comes of
partition N goes to partition N (modulo the partitions of an output that has fewer). That is the calls topic, or the
internal one in which its events are keyed by call id. Kafka deletes records by their timestamps,
and those of outputs are event times: their retention must exceed the age of whatever is replayed, or a replay's
output vanishes within minutes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from streams.brokers import CONNECT_SECONDS, Unreachable, connected
from streams.credentials import client_options
from streams.errors import OperatorError
from streams.settings import FOREVER, PREFIX, Settings, duration_text

log = logging.getLogger(__name__)

Verdict = Literal["created", "ok", "warning", "error"]

DEADLINE_SECONDS = 15.0
"""How long all requests of one command may take."""

# A dead letter is a record of any size with our headers added; a completed call is an event and more.
_MAX_BYTES = 2 * 1024 * 1024
_COMPARED = (
    "cleanup.policy",
    "retention.ms",
    "max.message.bytes",
    "message.timestamp.type",
    "segment.bytes",
    "delete.retention.ms",
)
_HOUR = 3_600_000
_INTERNAL = ("repartition", "changelog")
_ANY_TIME = 2**63 - 1

ABSENT = "is missing: run `telefonie topics create` (or this user lacks every ACL on it)"
"""What is said of a topic that cannot be seen: Kafka shows one only to those who may describe it."""


class TopicsError(OperatorError):
    """A topic is missing, cannot be made, or would break the processor as it is."""


@dataclass(frozen=True)
class Topic:
    """A topic that is needed, and its settings at the broker."""

    name: str
    role: Literal["calls", "repartition", "output", "changelog"]
    config: Mapping[str, str]
    #: The topic that is read where this one is written.
    source: str = ""


@dataclass(frozen=True)
class Existing:
    """A topic as the brokers have it."""

    partitions: int
    replicas: int
    config: Mapping[str, str]


@dataclass(frozen=True)
class Finding:
    """What was found about one topic; with `error` the processor would not run, or would run wrong."""

    topic: str
    verdict: Verdict
    message: str


Cluster: TypeAlias = dict[str, Existing]


def needed(settings: Settings) -> tuple[Topic, ...]:
    """The topics of semantics, section 1, and the internal ones; each after its source."""
    # Event times are record timestamps: the broker must not put its own in their place.
    common = {"message.timestamp.type": "CreateTime"}
    large = {
        **common,
        "max.message.bytes": str(_MAX_BYTES),
        # A dead letter keeps its timestamp, and too-early is one of the reasons for it.
        "message.timestamp.after.max.ms": str(_ANY_TIME),
    }
    kept = {**large, "retention.ms": str(settings.output_retention)}
    events = {"cleanup.policy": "delete", "retention.ms": str(settings.input_retention)}
    changelog = {
        **large,
        "cleanup.policy": "compact",
        "retention.ms": str(FOREVER),
        # Compacted early and often: a restart reads all of it.
        "min.cleanable.dirty.ratio": "0.1",
        "segment.ms": str(_HOUR),
        # Kafka compacts no segment that it still writes to.
        "segment.bytes": str(16 * 1024 * 1024),
        # Tombstones of the calls that were forgotten: a day of them by default, as many as there are calls remembered.
        # No restore takes so long, and a store on disk that is used is at most half as old (`streams.engine.store`).
        "delete.retention.ms": str(2 * _HOUR),
    }
    calls, source = settings.calls_topic, settings.source_topic
    repartition = (
        Topic(settings.repartition_topic, "repartition", {**large, **events}, calls),
        Topic(settings.repartition_changelog_topic, "changelog", changelog, calls),
    )
    return (
        Topic(calls, "calls", {**common, **events}),
        *(repartition if settings.repartition else ()),
        Topic(settings.completed_topic, "output", {**kept, "cleanup.policy": "compact,delete"}, source),
        Topic(settings.kpis_topic, "output", {**kept, "cleanup.policy": "compact,delete"}, source),
        Topic(settings.dead_topic, "output", {**kept, "cleanup.policy": "delete"}, source),
        Topic(settings.changelog_topic, "changelog", changelog, source),
    )


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
        _missing(cluster, [topic.name for topic in topics if topic.role not in _INTERNAL])
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


def findings(settings: Settings, cluster: Mapping[str, Existing]) -> list[Finding]:
    """What is to be said about each needed topic, the calls topic first."""
    found = []
    for topic in needed(settings):
        existing = cluster.get(topic.name)
        if existing is None:
            found.append(_absence(topic))
            continue
        faults = [Finding(topic.name, *fault) for fault in _faults(settings, topic, existing, cluster)]
        found += faults or [Finding(topic.name, "ok", _summary(existing))]
    return found


def _absence(topic: Topic) -> Finding:
    if topic.role in _INTERNAL:
        return Finding(topic.name, "warning", "is missing: the first worker makes it")
    return Finding(topic.name, "error", ABSENT)


def _summary(topic: Existing) -> str:
    policy = topic.config.get("cleanup.policy", "unknown")
    return f"{_count(topic.partitions, 'partition')}, {_count(topic.replicas, 'replica')}, cleanup {policy}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _faults(
    settings: Settings, topic: Topic, existing: Existing, cluster: Mapping[str, Existing]
) -> Iterator[tuple[Verdict, str]]:
    source, calls = cluster.get(topic.source), cluster.get(settings.calls_topic)
    if source and existing.partitions != source.partitions:
        yield _partition_fault(topic, existing.partitions, source.partitions)
    policy, wanted = (_policy(config) for config in (existing.config, topic.config))
    if policy and policy != wanted:
        yield _policy_fault(topic, ",".join(sorted(policy)))
    if existing.config.get("message.timestamp.type") == "LogAppendTime":
        yield "warning", "has message.timestamp.type LogAppendTime: event times become the times of arrival"
    if topic.role == "output":
        yield from _short_retention(
            existing, settings.call_retention, f"{PREFIX}CALL_RETENTION", "amendments need their call"
        )
    if topic.role == "repartition" and calls:
        kept = int(calls.config.get("retention.ms", FOREVER))
        yield from _short_retention(
            existing,
            kept,
            settings.calls_topic,
            "what lies there for longer may be removed before it is applied",
        )
    if topic.role in ("output", "repartition") and calls:
        yield from _small_records(existing, calls)
    if topic.role == "changelog":
        yield from _slow_or_short(topic, existing)


def _partition_fault(topic: Topic, has: int, source: int) -> tuple[Verdict, str]:
    text = f"has {_count(has, 'partition')}, {topic.source} has {source}"
    if topic.role == "repartition":
        return (
            "warning",
            f"{text}: adding some would part calls from their state; another {PREFIX}APP_ID has as many",
        )
    if has > source:
        return "warning", f"{text}: those past the first {source} stay empty"
    if topic.role == "output":
        return "warning", f"{text}: several input partitions share one of these"
    return "error", f"{text}: add {source - has}"


def _policy(config: Mapping[str, str]) -> frozenset[str]:
    return frozenset(filter(None, config.get("cleanup.policy", "").replace(" ", "").split(",")))


def _policy_fault(topic: Topic, policy: str) -> tuple[Verdict, str]:
    wanted = topic.config["cleanup.policy"]
    text = f"has cleanup.policy {policy}, needed is {wanted}"
    if topic.role == "changelog":
        return "error", f"{text}: state would be deleted while it is needed"
    if topic.role == "calls":
        return "error", f"{text}: events would be removed before they are read"
    return "warning", text


def _short_retention(
    existing: Existing, wanted: int, whose: str, because: str
) -> Iterator[tuple[Verdict, str]]:
    kept = int(existing.config.get("retention.ms", FOREVER))
    if "delete" in _policy(existing.config) and kept != FOREVER and (wanted == FOREVER or kept < wanted):
        shown = "forever" if wanted == FOREVER else duration_text(wanted)
        yield "warning", f"keeps records for {duration_text(kept or 1)}, less than {whose} {shown}: {because}"


def _small_records(existing: Existing, calls: Existing) -> Iterator[tuple[Verdict, str]]:
    largest = int(existing.config.get("max.message.bytes", _MAX_BYTES))
    incoming = int(calls.config.get("max.message.bytes", 0))
    if largest <= incoming:
        yield (
            "warning",
            f"takes max.message.bytes {largest}, the calls topic {incoming}: a record as large does not fit "
            "with what is added to it",
        )


def _slow_or_short(topic: Topic, existing: Existing) -> Iterator[tuple[Verdict, str]]:
    """A changelog that keeps more than a restart needs, or less."""
    for name, why in (
        (
            "segment.bytes",
            "nothing is compacted before its segment is full or an hour old, and a restart reads all of it",
        ),
        ("delete.retention.ms", "for so long a restart reads of each call that it was forgotten"),
    ):
        wanted = int(topic.config[name])
        if int(existing.config.get(name, wanted)) > wanted:
            yield "warning", f"has {name} {existing.config[name]}, set it to {wanted}: {why}"
    wanted = int(topic.config["delete.retention.ms"])
    kept = int(existing.config.get("delete.retention.ms", wanted))
    if kept < wanted:
        yield (
            "warning",
            f"has delete.retention.ms {kept}, set it to {wanted}: a worker that restores for longer, or whose store on "
            "disk is older, may take a call that was forgotten for an open one",
        )


def _missing(cluster: Mapping[str, Existing], names: Iterable[str]) -> None:
    for name in names:
        if name not in cluster:
            raise TopicsError(f"topic {name} {ABSENT}")


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(request_timeout_ms=int(CONNECT_SECONDS * 1000), **client_options(settings))
    async with connected(client, settings) as admin:
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
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
    keys = dict.fromkeys(_COMPARED, "")
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
