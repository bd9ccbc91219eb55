"""The topics that the processor needs, and their settings (semantics, section 1).

Outputs and the changelog have as many partitions as the topic whose events are applied, since the results of partition
N go to partition N (modulo the number of partitions, if an output has fewer). That topic is the calls topic, or the
internal topic in which its events are keyed by call id. Kafka deletes records by their timestamps, and those of outputs
are event times: their retention must exceed the age of anything that is replayed, otherwise a replay's output does not
keep event times.

This is also the one place that knows what fits: `LARGEST` is the size of the largest record that is written to each
topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from streams.settings import FOREVER, Settings

Role: TypeAlias = Literal["calls", "repartition", "completed", "kpis", "dead", "changelog", "redriven"]

#: The roles of the topics that people read.
OUTPUTS: Final[tuple[Role, ...]] = ("completed", "kpis", "dead")
#: The roles of the topics that workers create themselves.
INTERNAL: Final[tuple[Role, ...]] = ("repartition", "changelog")

LARGEST: Final[Mapping[Role, int]] = {
    # Each of fourteen properties of a Call has at most 8 KiB of UTF-8 (`too-large`, semantics 2).
    "completed": 160 * 1024,
    "changelog": 100 * 1024,
    "kpis": 32 * 1024,
    # A dead letter without its value, former headers and key; see `Config.shrink`.
    "dead": 16 * 1024,
    # An event without the properties that are not carried on.
    "repartition": 160 * 1024,
    # Two places: that of the record, and that of its dead letter.
    "redriven": 1024,
}
"""The size in bytes of the largest record that a topic has to accept, with everything that Kafka adds to it. All are
below Kafka's default limit of 1 MiB. A larger dead letter or repartitioned event is written unchanged if its topic
accepts it, and otherwise shrunk."""

#: What Kafka accepts by default.
_DEFAULT_BYTES: Final = 1024 * 1024 + 12
#: The more dead letters and repartitioned events fit, the fewer have to be shrunk.
_ROOMY_BYTES: Final = 2 * 1024 * 1024
_HOUR: Final = 3_600_000
ANY_TIME: Final = 2**63 - 1
"""A limit on timestamps, in ms, that is none."""


@dataclass(frozen=True)
class Topic:
    """A topic that is needed, and its settings at the broker."""

    name: str
    role: Role
    config: Mapping[str, str]
    #: The topic whose partitions are read to write this one.
    source: str = ""
    #: How many partitions it is created with; None: as many as its source.
    partitions: int | None = None


def in_sync(replicas: int) -> int:
    """The `min.insync.replicas` of a topic with this many replicas: the majority.

    What is acknowledged is then on at least two brokers, unless there is only one replica, and writing continues if a
    minority of the brokers is down. With two replicas, writing stops while one of them is down, which loses nothing;
    continuing with the other one could.
    """
    return replicas // 2 + 1


def needed(settings: Settings) -> tuple[Topic, ...]:
    """The topics that a worker needs: those of semantics, section 1, and the internal ones; each after its source."""
    # Event times are record timestamps: the broker must neither replace them with its own time, nor refuse any.
    event_time = {"message.timestamp.type": "CreateTime"}
    any_time = {**event_time, "message.timestamp.after.max.ms": str(ANY_TIME)}
    events = {
        **event_time,
        "cleanup.policy": "delete",
        "retention.ms": str(settings.input_retention),
        "retention.bytes": str(FOREVER),
    }
    kept = {
        **any_time,
        "max.message.bytes": str(_DEFAULT_BYTES),
        "retention.ms": str(settings.output_retention),
        "retention.bytes": str(FOREVER),
    }
    roomy = {"max.message.bytes": str(_ROOMY_BYTES)}
    compacted = {**kept, "cleanup.policy": "compact,delete"}
    calls, source = settings.calls_topic, settings.source_topic
    repartition = (
        Topic(settings.repartition_topic, "repartition", {**events, **any_time, **roomy}, calls),
        Topic(settings.repartition_changelog_topic, "changelog", _CHANGELOG, calls),
    )
    return (
        Topic(calls, "calls", events),
        *(repartition if settings.repartition else ()),
        Topic(settings.completed_topic, "completed", compacted, source),
        Topic(settings.kpis_topic, "kpis", compacted, source),
        Topic(settings.dead_topic, "dead", {**kept, **roomy, "cleanup.policy": "delete"}, source),
        Topic(settings.changelog_topic, "changelog", _CHANGELOG, source),
    )


def redriven(settings: Settings) -> Topic:
    """The topic that records which dead letters have been sent back: redrives need it, workers do not."""
    return Topic(settings.redriven_topic, "redriven", _REDRIVEN, partitions=1)


def everything(settings: Settings) -> tuple[Topic, ...]:
    """All topics that workers and commands need."""
    return (*needed(settings), redriven(settings))


_REDRIVEN: Final = {
    # Stamped by the brokers, so that no limit on timestamps refuses an entry.
    "message.timestamp.type": "LogAppendTime",
    "cleanup.policy": "compact",
    "retention.ms": str(FOREVER),
    "retention.bytes": str(FOREVER),
}
_CHANGELOG: Final = {
    # Its timestamps, in the acknowledgement of each commit, tell a worker the brokers' time.
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": str(_DEFAULT_BYTES),
    "cleanup.policy": "compact",
    "retention.ms": str(FOREVER),
    "retention.bytes": str(FOREVER),
    # Compacted early and often, since a restart reads all of it.
    "min.cleanable.dirty.ratio": "0.1",
    "segment.ms": str(_HOUR),
    # Kafka does not compact the segment that it still writes to.
    "segment.bytes": str(16 * 1024 * 1024),
    # Tombstones of forgotten calls: Kafka's default keeps a day of them, as many as there are remembered calls. No
    # restore takes this long, and a store on disk is used only if it is at most half as old (`streams.engine.store`).
    "delete.retention.ms": str(2 * _HOUR),
}
