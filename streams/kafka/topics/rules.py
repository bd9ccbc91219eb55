"""Every setting that a topic has in Kafka 4: whether it matters to the processor, which values do, and why.

`topics check` goes by this table, docs/topics.md is written from it, and a test holds that a real broker has no setting
that is missing here. What a broker does not tell, because it is older or we lack the right, is not complained about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from streams.kafka.topics import judges
from streams.kafka.topics.existing import Case, Existing, Fault
from streams.kafka.topics.specification import INTERNAL, LARGEST, OUTPUTS, Role, Topic
from streams.settings import FOREVER, PREFIX, Settings

ALL: Final[tuple[Role, ...]] = ("calls", *INTERNAL, *OUTPUTS)
_OURS: Final[tuple[Role, ...]] = (*INTERNAL, *OUTPUTS)
#: Those that may not lose a record, nor be without a broker to write to.
_SAFE: Final[tuple[Role, ...]] = (*ALL, "redriven")
#: Those from which Kafka deletes records by their age.
_DELETED: Final[tuple[Role, ...]] = ("calls", "repartition", *OUTPUTS)


@dataclass(frozen=True)
class Rule:
    """One setting. Without a `judge` it does not matter, and `why` says why not."""

    setting: str
    why: str
    #: The topics for which it matters, and which values are right there, in words.
    roles: tuple[Role, ...] = ()
    right: str = ""
    otherwise: str = ""
    judge: Callable[[Case], Iterator[Fault]] | None = None


def faults(topic: Topic, existing: Existing, settings: Settings, calls: Existing | None) -> Iterator[Fault]:
    """What is wrong with the settings of a topic, in the order of the table."""
    for rule in RULES:
        value = existing.config.get(rule.setting)
        if rule.judge is not None and topic.role in rule.roles and value is not None:
            for fault in rule.judge(Case(rule.setting, value, topic, existing, settings, calls)):
                yield fault._replace(setting=rule.setting)


RULES: Final = (
    Rule(
        "cleanup.policy",
        "events are removed by age alone, state and entries by being superseded alone, dead letters have equal keys or "
        "none",
        _SAFE,
        "as made: `delete` for calls, repartition and dead, `compact` for changelogs and redriven, `compact,delete` "
        "for completed and kpis",
        "error where records that are needed would be removed or refused, else warning",
        judges.cleanup_policy,
    ),
    Rule("compression.gzip.level", "costs CPU of the brokers alone, and only where they compress again"),
    Rule("compression.lz4.level", "as that of gzip"),
    Rule(
        "compression.type",
        "`max.message.bytes` counts what the brokers store; another codec costs their CPU alone",
        _OURS,
        "anything but `uncompressed`",
        "warning",
        judges.compression_type,
    ),
    Rule("compression.zstd.level", "as that of gzip"),
    Rule(
        "delete.retention.ms",
        "how long a restart reads, and has to be able to read, that a call was forgotten; nothing but a changelog has "
        "tombstones of ours",
        ("changelog",),
        "7200000 (2 h)",
        "warning",
        judges.delete_retention,
    ),
    Rule("file.delete.delay.ms", "when the brokers free the disk, after the records are gone"),
    Rule(
        "flush.messages", "what is acknowledged lies on the replicas in sync; only throughput depends on it"
    ),
    Rule("flush.ms", "as flush.messages"),
    Rule("follower.replication.throttled.replicas", "a throttle of those who move partitions, for a while"),
    Rule("index.interval.bytes", "how the brokers find an offset"),
    Rule("leader.replication.throttled.replicas", "as that of followers"),
    Rule("local.retention.bytes", "what is remote is read from there, only slower"),
    Rule("local.retention.ms", "as local.retention.bytes"),
    Rule("max.compaction.lag.ms", "only makes compaction come earlier than it would"),
    Rule(
        "max.message.bytes",
        "what is written has a known greatest size, and a record that is refused would stop its partition; the calls "
        "topic may take any size, what is larger than another topic takes is shrunk or rejected",
        (*_OURS, "redriven"),
        "at least " + ", ".join(f"{LARGEST[role]} for {role}" for role in (*_OURS, "redriven")),
        "error",
        judges.max_message_bytes,
    ),
    Rule(
        "message.timestamp.after.max.ms",
        "records carry event times, which may be ahead; on the calls topic it keeps out producers whose clock is wrong",
        ("repartition", *OUTPUTS),
        f"outputs: at least `{PREFIX}MAX_CLOCK_SKEW`; repartition: no limit",
        "warning",
        judges.timestamp_after,
    ),
    Rule(
        "message.timestamp.before.max.ms",
        "events and amendments come late, and dead letters are sent back later still",
        ("calls", "repartition", *OUTPUTS),
        f"calls: at least `{PREFIX}CALL_RETENTION`; outputs: at least half of their retention; repartition: no limit",
        "warning",
        judges.timestamp_before,
    ),
    Rule(
        "message.timestamp.type",
        "a record's timestamp is the time of its event; that of a changelog tells workers the brokers' time",
        ALL,
        "`LogAppendTime` for changelogs, else `CreateTime`",
        "warning",
        judges.timestamp_type,
    ),
    Rule(
        "min.cleanable.dirty.ratio",
        "how much that is superseded a restart reads",
        ("changelog",),
        "at most 0.5; made with 0.1",
        "warning",
        judges.dirty_ratio,
    ),
    Rule(
        "min.compaction.lag.ms",
        "a restart reads all that is not compacted yet",
        ("changelog",),
        "at most 3600000 (1 h)",
        "warning",
        judges.compaction_lag,
    ),
    Rule(
        "min.insync.replicas",
        "what is acknowledged must outlive the loss of a broker, and one that is down should stop nothing",
        _SAFE,
        "the majority of the replicas: 1 of 1, 2 of 3; 2 of 2 is a warning too",
        "error where nothing could be written (for calls a warning), else warning",
        judges.replicas_in_sync,
    ),
    Rule("preallocate", "how the brokers make files"),
    Rule("remote.log.copy.disable", "which copies there are, not what can be read"),
    Rule("remote.log.delete.on.disable", "only when remote storage is switched off by hand"),
    Rule(
        "remote.storage.enable",
        "a backlog is read from there too; Kafka does not allow it for compacted topics",
    ),
    Rule(
        "retention.bytes",
        "removes records by size, however young they are",
        _DELETED,
        f"{FOREVER} (no limit)",
        "warning",
        judges.retention_bytes,
    ),
    Rule(
        "retention.ms",
        "an event must be there until it is read, an output until its last amendment and as long as its events",
        _DELETED,
        f"calls: at least `{PREFIX}INPUT_RETENTION`; outputs: at least `{PREFIX}CALL_RETENTION` and as long as calls; "
        "repartition: as long as calls",
        "warning",
        judges.retention,
    ),
    Rule(
        "segment.bytes",
        "Kafka compacts no segment that it still writes to",
        ("changelog",),
        "at most 16777216 (16 MiB)",
        "warning",
        judges.segment_bytes,
    ),
    Rule("segment.index.bytes", "how many records a segment may have, a hundred times more than it needs"),
    Rule("segment.jitter.ms", "spreads segment.ms"),
    Rule(
        "segment.ms",
        "for how long a quiet partition keeps what was forgotten; elsewhere segment.bytes comes first",
        ("changelog",),
        "at most 86400000 (1 d); made with 3600000",
        "warning",
        judges.segment_age,
    ),
    Rule(
        "unclean.leader.election.enable",
        "such an election loses records that were acknowledged, and offsets with them",
        _SAFE,
        "`false`",
        "warning",
        judges.unclean_election,
    ),
    Rule("message.downconversion.enable", "for consumers that are older than any of ours (until Kafka 3)"),
    Rule("message.format.version", "without effect since Kafka 3.0 (until Kafka 3)"),
    Rule(
        "message.timestamp.difference.max.ms",
        "the limit in both directions (until Kafka 3)",
        ("calls", "repartition", *OUTPUTS),
        "as message.timestamp.before.max.ms",
        "warning",
        judges.timestamp_before,
    ),
)
"""Every setting of a topic, in the order of their names, those that only older brokers have at the end."""
