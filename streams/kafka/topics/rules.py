"""Every setting that a topic has in Kafka 4: whether it matters to the processor, which values do, and why.

`topics check` uses this table, docs/topics.md is generated from it, and a test checks that a real broker has no setting
that is missing here. A setting that a broker does not report, because it is older or the right is missing, is not
judged.
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
#: Topics that must not lose a record, and must always have a broker to write to.
_SAFE: Final[tuple[Role, ...]] = (*ALL, "redriven")
#: Topics from which Kafka deletes records by age.
_DELETED: Final[tuple[Role, ...]] = ("calls", "repartition", *OUTPUTS)


@dataclass(frozen=True)
class Rule:
    """One setting. Without a `judge` it does not matter, and `why` says why not."""

    setting: str
    why: str
    #: The topics for which it matters, and the right values there, in words.
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
        "events may be removed only by age, state and entries only when they are superseded; dead "
        "letters have equal keys or none",
        _SAFE,
        "as created: `delete` for calls, repartition and dead, `compact` for changelogs and redriven, "
        "`compact,delete` for completed and kpis",
        "error if records that are needed would be removed or refused, otherwise warning",
        judges.cleanup_policy,
    ),
    Rule("compression.gzip.level", "costs only the brokers' CPU, and only if they compress again"),
    Rule("compression.lz4.level", "as for gzip"),
    Rule(
        "compression.type",
        "`max.message.bytes` counts what the brokers store; another codec costs only their CPU",
        _OURS,
        "anything but `uncompressed`",
        "warning",
        judges.compression_type,
    ),
    Rule("compression.zstd.level", "as for gzip"),
    Rule(
        "delete.retention.ms",
        "for how long a restart reads tombstones of forgotten calls, and must be able to read them; "
        "only the changelog has tombstones",
        ("changelog",),
        "7200000 (2 h)",
        "warning",
        judges.delete_retention,
    ),
    Rule("file.delete.delay.ms", "when the brokers free the disk, after the records are gone"),
    Rule("flush.messages", "what is acknowledged is on the in-sync replicas; only throughput depends on it"),
    Rule("flush.ms", "as flush.messages"),
    Rule("follower.replication.throttled.replicas", "a temporary throttle while partitions are moved"),
    Rule("index.interval.bytes", "how the brokers find an offset"),
    Rule("leader.replication.throttled.replicas", "as for followers"),
    Rule("local.retention.bytes", "remote data can still be read, but more slowly"),
    Rule("local.retention.ms", "as local.retention.bytes"),
    Rule("max.compaction.lag.ms", "only makes compaction happen earlier"),
    Rule(
        "max.message.bytes",
        "what is written has a known maximum size, and a refused record would stop its partition; the "
        "calls topic may accept any size: what is too large for another topic is shrunk or rejected",
        (*_OURS, "redriven"),
        "at least " + ", ".join(f"{LARGEST[role]} for {role}" for role in (*_OURS, "redriven")),
        "error",
        judges.max_message_bytes,
    ),
    Rule(
        "message.timestamp.after.max.ms",
        "records carry event times, which may be ahead; on the calls topic a limit keeps out producers "
        "whose clock is wrong",
        ("repartition", *OUTPUTS),
        f"outputs: at least `{PREFIX}MAX_CLOCK_SKEW`; repartition: no limit",
        "warning",
        judges.timestamp_after,
    ),
    Rule(
        "message.timestamp.before.max.ms",
        "events and amendments arrive late, and dead letters are sent back even later",
        ("calls", "repartition", *OUTPUTS),
        f"calls: at least `{PREFIX}CALL_RETENTION`; outputs: at least half of their retention; repartition: no limit",
        "warning",
        judges.timestamp_before,
    ),
    Rule(
        "message.timestamp.type",
        "a record's timestamp is the time of its event; that of a changelog record tells workers the "
        "brokers' time",
        ALL,
        "`LogAppendTime` for changelogs, otherwise `CreateTime`",
        "warning",
        judges.timestamp_type,
    ),
    Rule(
        "min.cleanable.dirty.ratio",
        "how much superseded data a restart reads",
        ("changelog",),
        "at most 0.5; created with 0.1",
        "warning",
        judges.dirty_ratio,
    ),
    Rule(
        "min.compaction.lag.ms",
        "a restart reads everything that is not compacted yet",
        ("changelog",),
        "at most 3600000 (1 h)",
        "warning",
        judges.compaction_lag,
    ),
    Rule(
        "min.insync.replicas",
        "what is acknowledged must survive the loss of a broker, and a single broker that is down "
        "should stop nothing",
        _SAFE,
        "the majority of the replicas: 1 of 1, 2 of 3; 2 of 2 also gives a warning",
        "error if nothing could be written (for calls a warning), otherwise warning",
        judges.replicas_in_sync,
    ),
    Rule("preallocate", "how the brokers allocate files"),
    Rule("remote.log.copy.disable", "affects which copies exist, not what can be read"),
    Rule("remote.log.delete.on.disable", "matters only when remote storage is disabled by hand"),
    Rule(
        "remote.storage.enable",
        "a backlog can be read from there too; Kafka does not allow it for compacted topics",
    ),
    Rule(
        "retention.bytes",
        "removes records by size, however recent they are",
        _DELETED,
        f"{FOREVER} (no limit)",
        "warning",
        judges.retention_bytes,
    ),
    Rule(
        "retention.ms",
        "an event must be kept until it is read, an output until its last amendment and as long as its "
        "events",
        _DELETED,
        f"calls: at least `{PREFIX}INPUT_RETENTION`; outputs: at least `{PREFIX}CALL_RETENTION` and as long as calls; "
        "repartition: as long as calls",
        "warning",
        judges.retention,
    ),
    Rule(
        "segment.bytes",
        "Kafka does not compact the segment that it still writes to",
        ("changelog",),
        "at most 16777216 (16 MiB)",
        "warning",
        judges.segment_bytes,
    ),
    Rule("segment.index.bytes", "how many records a segment may have: a hundred times more than needed"),
    Rule("segment.jitter.ms", "spreads segment.ms"),
    Rule(
        "segment.ms",
        "for how long a quiet partition keeps forgotten calls; otherwise segment.bytes is reached first",
        ("changelog",),
        "at most 86400000 (1 d); created with 3600000",
        "warning",
        judges.segment_age,
    ),
    Rule(
        "unclean.leader.election.enable",
        "such an election loses acknowledged records, and offsets with them",
        _SAFE,
        "`false`",
        "warning",
        judges.unclean_election,
    ),
    Rule("message.downconversion.enable", "only for consumers older than any used here (until Kafka 3)"),
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
"""Every setting of a topic, by name; those that only older brokers have come last."""
