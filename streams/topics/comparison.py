"""What is to be said about the topics that exist, compared with those that are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from streams.settings import FOREVER, PREFIX, Settings, duration_text
from streams.topics.specification import INTERNAL, MAX_BYTES, Topic, needed

Verdict = Literal["created", "ok", "warning", "error"]

ABSENT: Final = "is missing: run `telefonie topics create` (or this user lacks every ACL on it)"
"""What is said of a topic that cannot be seen: Kafka shows one only to those who may describe it."""

COMPARED: Final = (
    "cleanup.policy",
    "retention.ms",
    "max.message.bytes",
    "message.timestamp.type",
    "segment.bytes",
    "delete.retention.ms",
)
"""The settings of a topic that are looked at."""


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
    if topic.role in INTERNAL:
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
    largest = int(existing.config.get("max.message.bytes", MAX_BYTES))
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
