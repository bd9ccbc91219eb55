"""Compares the topics that exist with those that are needed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from streams.kafka.topics import rules
from streams.kafka.topics.existing import Existing
from streams.kafka.topics.specification import INTERNAL, OUTPUTS, Topic, everything, needed
from streams.settings import Settings

Verdict: TypeAlias = Literal["created", "grown", "changed", "ok", "warning", "error"]

ABSENT: Final = "is missing: run `telefonie topics create` (or this user lacks every ACL on it)"
"""What is reported about a topic that cannot be seen: Kafka shows a topic only to users who may describe it."""


@dataclass(frozen=True)
class Finding:
    """A finding about one topic; with `error` the processor would not run, or would run incorrectly.

    `change` corrects it: settings of the topic, with their values.
    """

    topic: str
    verdict: Verdict
    message: str
    change: Mapping[str, str] = field(default_factory=dict)
    #: For an error: a worker runs nevertheless, and what it cannot read waits.
    waits: bool = False


def findings(settings: Settings, cluster: Mapping[str, Existing]) -> list[Finding]:
    """The findings about each topic, the calls topic first."""
    found = []
    for topic in everything(settings):
        existing = cluster.get(topic.name)
        if existing is None:
            found.append(_absence(topic))
            continue
        faults = list(_faults(settings, topic, existing, cluster))
        found += faults or [Finding(topic.name, "ok", summary(existing))]
    return found


def changes(
    settings: Settings, cluster: Mapping[str, Existing], only: Collection[str] = ()
) -> dict[str, dict[str, str]]:
    """The changes that correct all findings, as far as topic settings can, by topic: for all topics, or `only` these.

    If changing one topic requires changing another, that is included.
    """
    changed: dict[str, dict[str, str]] = {}
    as_changed = dict(cluster)
    while True:
        new = [
            each
            for each in findings(settings, as_changed)
            if each.change and (each.topic in only or not only)
        ]
        if not new:
            return changed
        for each in new:
            changed.setdefault(each.topic, {}).update(each.change)
            before = as_changed[each.topic]
            as_changed[each.topic] = replace(before, config={**before.config, **each.change})


def growth(settings: Settings, cluster: Mapping[str, Existing]) -> dict[str, int]:
    """How many partitions the topics need that have fewer than their source, except those that cannot grow.

    The repartition topic cannot: the place of a call depends on its number of partitions.
    """
    counts = {name: topic.partitions for name, topic in cluster.items()}
    return {
        topic.name: counts[topic.source]
        for topic in needed(settings)
        if topic.role in (*OUTPUTS, "changelog")
        if counts.get(topic.name, 0) < counts.get(topic.source, 0) and topic.name in counts
    }


def summary(topic: Existing) -> str:
    """A correct topic, in a few words."""
    policy = topic.config.get("cleanup.policy", "unknown")
    return f"{_count(topic.partitions, 'partition')}, {_count(topic.replicas, 'replica')}, cleanup {policy}"


def _absence(topic: Topic) -> Finding:
    if topic.role in INTERNAL:
        return Finding(topic.name, "warning", "is missing: the first worker creates it")
    if topic.role == "redriven":
        return Finding(
            topic.name, "warning", "is missing: `telefonie topics create` or the first redrive creates it"
        )
    return Finding(topic.name, "error", ABSENT)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _faults(
    settings: Settings, topic: Topic, existing: Existing, cluster: Mapping[str, Existing]
) -> Iterator[Finding]:
    source, calls = cluster.get(topic.source), cluster.get(settings.calls_topic)
    # Any number is right for the repartition topic, and it must not change: see `growth`.
    if source and topic.role != "repartition" and existing.partitions != source.partitions:
        yield _partition_fault(topic, existing.partitions, source.partitions)
    for fault in rules.faults(topic, existing, settings, calls):
        change = {} if fault.wanted is None else {fault.setting: fault.wanted}
        yield Finding(topic.name, fault.severity, fault.message, change)


def _partition_fault(topic: Topic, has: int, source: int) -> Finding:
    text = f"has {_count(has, 'partition')}, {topic.source} has {source}"
    if has > source:
        return Finding(topic.name, "warning", f"{text}: those past the first {source} stay empty")
    if topic.role in OUTPUTS:
        return Finding(
            topic.name,
            "warning",
            f"{text}: several input partitions share one of these; `telefonie topics create` adds {source - has}",
        )
    return Finding(
        topic.name,
        "error",
        f"{text}: partitions from {has} on are not read until `telefonie topics create` adds {source - has}",
        waits=True,
    )
