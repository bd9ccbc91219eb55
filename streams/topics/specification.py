"""The topics that the processor needs, and their settings (semantics, section 1).

Outputs and the changelog have as many partitions as the topic whose events are applied, since what comes of
partition N goes to partition N (modulo the partitions of an output that has fewer). That is the calls topic, or the
internal one in which its events are keyed by call id. Kafka deletes records by their timestamps,
and those of outputs are event times: their retention must exceed the age of whatever is replayed, or a replay's
output vanishes within minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from streams.settings import FOREVER, Settings

#: Of one record: a dead letter is a record of any size with our headers added; a completed call is an event and more.
MAX_BYTES: Final = 2 * 1024 * 1024
#: The roles of the topics that workers make themselves.
INTERNAL: Final = ("repartition", "changelog")
_HOUR: Final = 3_600_000
_ANY_TIME: Final = 2**63 - 1


@dataclass(frozen=True)
class Topic:
    """A topic that is needed, and its settings at the broker."""

    name: str
    role: Literal["calls", "repartition", "output", "changelog"]
    config: Mapping[str, str]
    #: The topic that is read where this one is written.
    source: str = ""


def needed(settings: Settings) -> tuple[Topic, ...]:
    """The topics of semantics, section 1, and the internal ones; each after its source."""
    # Event times are record timestamps: the broker must not put its own in their place.
    common = {"message.timestamp.type": "CreateTime"}
    large = {
        **common,
        "max.message.bytes": str(MAX_BYTES),
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
