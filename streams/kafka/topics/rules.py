"""Every setting that a topic has in Kafka 4: whether it matters to the processor, which values do, and why.

`topics check` goes by this table, docs/topics.md is written from it, and a test holds that a real broker has no setting
that is missing here. What a broker does not tell, because it is older or we lack the right, is not complained about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from streams.kafka.topics.specification import ANY_TIME, INTERNAL, LARGEST, OUTPUTS, Role, Topic, in_sync
from streams.settings import FOREVER, PREFIX, Settings, duration_text

Severity: TypeAlias = Literal["warning", "error"]

ALL: Final[tuple[Role, ...]] = ("calls", *INTERNAL, *OUTPUTS)
_OURS: Final[tuple[Role, ...]] = (*INTERNAL, *OUTPUTS)
#: Those that may not lose a record, nor be without a broker to write to.
_SAFE: Final[tuple[Role, ...]] = (*ALL, "redriven")
#: Those from which Kafka deletes records by their age.
_DELETED: Final[tuple[Role, ...]] = ("calls", "repartition", *OUTPUTS)


@dataclass(frozen=True)
class Existing:
    """A topic as the brokers have it."""

    partitions: int
    replicas: int
    config: Mapping[str, str]


class Case(NamedTuple):
    """A setting of one topic, looked at: `value` is what it has."""

    setting: str
    value: str
    topic: Topic
    existing: Existing
    settings: Settings
    #: The calls topic, if it exists.
    calls: Existing | None


class Fault(NamedTuple):
    """What is wrong with a setting, and the value that puts it right (None: no value of it does)."""

    severity: Severity
    message: str
    wanted: str | None = None
    setting: str = ""


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


def policies(value: str) -> frozenset[str]:
    """The cleanup policies that a topic has."""
    return frozenset(filter(None, value.replace(" ", "").split(",")))


def _policy(case: Case) -> Iterator[Fault]:
    wanted = case.topic.config["cleanup.policy"]
    has, needs = policies(case.value), policies(wanted)
    if has == needs:
        return
    role, text = case.topic.role, f"has cleanup.policy {','.join(sorted(has)) or 'none'}, needed is {wanted}"
    if role == "changelog" and has:
        yield Fault("error", f"{text}: state would be deleted while it is needed", wanted)
    elif role == "redriven":
        yield Fault("error", f"{text}: what was sent back could be sent again once its note is gone", wanted)
    elif role in ("calls", "repartition") and "compact" in has:
        yield Fault("error", f"{text}: events would be removed before they are read", wanted)
    elif role == "dead" and "compact" in has:
        yield Fault(
            "error", f"{text}: a dead letter without a key is refused, one of an equal key removed", wanted
        )
    elif "delete" not in has:
        yield Fault("warning", f"{text}: it grows for ever", wanted)
    else:
        yield Fault("warning", f"{text}: superseded revisions stay", wanted)


def _compression(case: Case) -> Iterator[Fault]:
    if case.value == "uncompressed":
        yield Fault(
            "warning",
            "has compression.type uncompressed, set it to producer: what fits only compressed is refused",
            "producer",
        )


def _tombstones(case: Case) -> Iterator[Fault]:
    wanted = int(case.topic.config["delete.retention.ms"])
    text = f"has delete.retention.ms {case.value}, set it to {wanted}"
    if int(case.value) > wanted:
        why = "for so long a restart reads of each call that it was forgotten"
        yield Fault("warning", f"{text}: {why}", str(wanted))
    if int(case.value) < wanted:
        why = (
            "a worker that restores for longer, or whose store on disk is older, may take a call that was forgotten "
            "for an open one"
        )
        yield Fault("warning", f"{text}: {why}", str(wanted))


def _largest(case: Case) -> Iterator[Fault]:
    role = case.topic.role
    needs, writer = LARGEST[role], "a redrive" if role == "redriven" else "the worker"
    if int(case.value) < needs:
        yield Fault(
            "error",
            f"takes max.message.bytes {case.value}, set it to {needs} or more: the brokers would refuse the greatest "
            f"record that is written there, and {writer} would stop",
            case.topic.config.get("max.message.bytes", str(needs)),
        )


def _after(case: Case) -> Iterator[Fault]:
    name, wanted = "message.timestamp.after.max.ms", case.topic.config["message.timestamp.after.max.ms"]
    if case.existing.config.get("message.timestamp.type") == "LogAppendTime":
        return  # no timestamp of ours is looked at
    if case.topic.role == "repartition":
        if case.value != wanted:
            yield Fault("warning", f"has {name} {case.value}, set it to {wanted}: {_LOST_TIME}", wanted)
    elif int(case.value) < case.settings.max_clock_skew:
        skew = f"{PREFIX}MAX_CLOCK_SKEW {duration_text(case.settings.max_clock_skew)}"
        yield Fault(
            "warning", f"has {name} {case.value}, less than {skew}, set it to {wanted}: {_LOST_TIME}", wanted
        )


_LOST_TIME: Final = (
    "a record further ahead is stamped with the time at which it is written instead of its own"
)


def _before(case: Case) -> Iterator[Fault]:
    if case.existing.config.get("message.timestamp.type") == "LogAppendTime":
        return
    name, most = case.setting, ANY_TIME
    if case.topic.role == "calls":
        if int(case.value) < case.settings.call_retention:
            kept = f"{PREFIX}CALL_RETENTION {duration_text(case.settings.call_retention)}"
            yield Fault(
                "warning",
                f"has {name} {case.value}, less than {kept}: the brokers refuse late events and what "
                "`telefonie dead redrive` sends back",
                str(most),
            )
    elif case.topic.role == "repartition":
        if int(case.value) < most:
            yield Fault(
                "warning",
                f"has {name} {case.value}, set it to {most}: an older event is stamped with the time at which it is "
                "written",
                str(most),
            )
    elif int(case.value) < min(_kept(case.existing) / 2, most):
        yield Fault(
            "warning",
            f"has {name} {case.value}, less than half of its retention, set it to {most}: older records are stamped "
            "with the time at which they are written",
            str(most),
        )


def _kept(existing: Existing) -> float:
    """For how long (ms) a topic keeps records, by their timestamps."""
    kept = int(existing.config.get("retention.ms", FOREVER))
    return float("inf") if kept == FOREVER else kept


def _time_kind(case: Case) -> Iterator[Fault]:
    wanted = case.topic.config["message.timestamp.type"]
    if case.value == wanted:
        return
    text = f"has message.timestamp.type {case.value}, set it to {wanted}"
    if case.topic.role == "changelog":
        yield Fault(
            "warning",
            f"{text}: workers cannot learn the brokers' time from it, and judge what is too early, late or idle by "
            "their own clocks",
            wanted,
        )
    elif case.topic.role in ("calls", "repartition"):
        yield Fault("warning", f"{text}: event times become the times of arrival", wanted)
    else:
        yield Fault(
            "warning", f"{text}: records lose their event times, `--since` and replays go by these", wanted
        )


def _dirty(case: Case) -> Iterator[Fault]:
    if float(case.value) > 0.5:
        wanted = case.topic.config["min.cleanable.dirty.ratio"]
        yield Fault(
            "warning",
            f"has min.cleanable.dirty.ratio {case.value}, set it to {wanted}: a restart reads over twice the state",
            wanted,
        )


def _compaction_lag(case: Case) -> Iterator[Fault]:
    most = int(case.topic.config["segment.ms"])
    if int(case.value) > most:
        yield Fault(
            "warning",
            f"has min.compaction.lag.ms {case.value}, set it to 0: nothing younger is compacted, and a restart reads "
            "all of it",
            "0",
        )


def _replicas_in_sync(case: Case) -> Iterator[Fault]:
    has, replicas = int(case.value), case.existing.replicas
    wanted = in_sync(replicas)
    text = f"has min.insync.replicas {has} of {replicas} replicas"
    if has > replicas:
        severity: Severity = "warning" if case.topic.role == "calls" else "error"
        yield Fault(severity, f"{text}, set it to {wanted}: nothing can be written to it", str(wanted))
    elif has == 1 < replicas:
        yield Fault(
            "warning",
            f"{text}, set it to {wanted}: an acknowledged record may lie on one broker only, and is lost with it",
            str(wanted),
        )
    elif has == replicas == 2:
        yield Fault(
            "warning",
            f"{text}: writing stops while one of the two brokers is down; with 3 replicas it goes on",
        )
    elif has == replicas > 2:
        yield Fault(
            "warning",
            f"{text}, set it to {wanted}: writing stops while any of its brokers is down",
            str(wanted),
        )


def _by_size(case: Case) -> Iterator[Fault]:
    if int(case.value) != FOREVER and _is_deleted(case.existing):
        lost = (
            "before they are read"
            if case.topic.role in ("calls", "repartition")
            else "however young they are"
        )
        yield Fault(
            "warning",
            f"keeps retention.bytes {case.value} a partition, set it to {FOREVER}: once there is more, records are "
            f"removed {lost}",
            str(FOREVER),
        )


def _by_age(case: Case) -> Iterator[Fault]:
    if not _is_deleted(case.existing):
        return
    kept = _kept(case.existing)
    short = [(wanted, whose, why) for wanted, whose, why in _demands(case) if kept < _endless(wanted)]
    if short:
        wanted, whose, why = max(short, key=lambda demand: _endless(demand[0]))
        shown = "forever" if wanted == FOREVER else duration_text(wanted)
        yield Fault(
            "warning",
            f"keeps records for {duration_text(int(kept) or 1)} (retention.ms {case.value}), less than {whose} {shown}"
            f": {why}",
            str(wanted),
        )


def _demands(case: Case) -> Iterator[tuple[int, str, str]]:
    """For how long records are to be kept (ms), who says so, and why."""
    settings, calls = case.settings, case.calls
    if case.topic.role == "calls":
        yield (
            settings.input_retention,
            f"{PREFIX}INPUT_RETENTION",
            "events that wait for longer, while no worker runs, are lost",
        )
        return
    incoming = int(calls.config.get("retention.ms", "0")) if calls else 0
    if case.topic.role == "repartition":
        yield incoming, settings.calls_topic, "what lies there for longer may be removed before it is applied"
        return
    yield settings.call_retention, f"{PREFIX}CALL_RETENTION", "amendments need their call"
    yield incoming, settings.calls_topic, "what came of events that are still there may be gone"


def _endless(kept: int) -> float:
    return float("inf") if kept == FOREVER else kept


def _is_deleted(existing: Existing) -> bool:
    return "delete" in policies(existing.config.get("cleanup.policy", ""))


def _segments(case: Case) -> Iterator[Fault]:
    wanted = int(case.topic.config["segment.bytes"])
    if int(case.value) > wanted:
        yield Fault(
            "warning",
            f"has segment.bytes {case.value}, set it to {wanted}: nothing is compacted before its segment is full or "
            "an hour old, and a restart reads all of it",
            str(wanted),
        )


def _segment_age(case: Case) -> Iterator[Fault]:
    wanted = int(case.topic.config["segment.ms"])
    if int(case.value) > 24 * wanted:
        yield Fault(
            "warning",
            f"has segment.ms {case.value}, set it to {wanted}: on a quiet partition what was forgotten stays for so "
            "long, phone numbers too",
            str(wanted),
        )


def _unclean(case: Case) -> Iterator[Fault]:
    if case.value == "true":
        yield Fault(
            "warning",
            "has unclean.leader.election.enable true, set it to false: an election may lose records that were "
            "acknowledged, and workers stop where they notice",
            "false",
        )


RULES: Final = (
    Rule(
        "cleanup.policy",
        "events are removed by age alone, state and notes by being superseded alone, dead letters have equal keys or "
        "none",
        _SAFE,
        "as made: `delete` for calls, repartition and dead, `compact` for changelogs and redriven, `compact,delete` "
        "for completed and kpis",
        "error where records that are needed would be removed or refused, else warning",
        _policy,
    ),
    Rule("compression.gzip.level", "costs CPU of the brokers alone, and only where they compress again"),
    Rule("compression.lz4.level", "as that of gzip"),
    Rule(
        "compression.type",
        "`max.message.bytes` counts what the brokers store; another codec costs their CPU alone",
        _OURS,
        "anything but `uncompressed`",
        "warning",
        _compression,
    ),
    Rule("compression.zstd.level", "as that of gzip"),
    Rule(
        "delete.retention.ms",
        "how long a restart reads, and has to be able to read, that a call was forgotten; nothing but a changelog has "
        "tombstones of ours",
        ("changelog",),
        "7200000 (2 h)",
        "warning",
        _tombstones,
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
        _largest,
    ),
    Rule(
        "message.timestamp.after.max.ms",
        "records carry event times, which may be ahead; on the calls topic it keeps out producers whose clock is wrong",
        ("repartition", *OUTPUTS),
        f"outputs: at least `{PREFIX}MAX_CLOCK_SKEW`; repartition: no limit",
        "warning",
        _after,
    ),
    Rule(
        "message.timestamp.before.max.ms",
        "events and amendments come late, and dead letters are sent back later still",
        ("calls", "repartition", *OUTPUTS),
        f"calls: at least `{PREFIX}CALL_RETENTION`; outputs: at least half of their retention; repartition: no limit",
        "warning",
        _before,
    ),
    Rule(
        "message.timestamp.type",
        "a record's timestamp is the time of its event; that of a changelog tells workers the brokers' time",
        ALL,
        "`LogAppendTime` for changelogs, else `CreateTime`",
        "warning",
        _time_kind,
    ),
    Rule(
        "min.cleanable.dirty.ratio",
        "how much that is superseded a restart reads",
        ("changelog",),
        "at most 0.5; made with 0.1",
        "warning",
        _dirty,
    ),
    Rule(
        "min.compaction.lag.ms",
        "a restart reads all that is not compacted yet",
        ("changelog",),
        "at most 3600000 (1 h)",
        "warning",
        _compaction_lag,
    ),
    Rule(
        "min.insync.replicas",
        "what is acknowledged must outlive the loss of a broker, and one that is down should stop nothing",
        _SAFE,
        "the majority of the replicas: 1 of 1, 2 of 3; 2 of 2 is a warning too",
        "error where nothing could be written (for calls a warning), else warning",
        _replicas_in_sync,
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
        _by_size,
    ),
    Rule(
        "retention.ms",
        "an event must be there until it is read, an output until its last amendment and as long as its events",
        _DELETED,
        f"calls: at least `{PREFIX}INPUT_RETENTION`; outputs: at least `{PREFIX}CALL_RETENTION` and as long as calls; "
        "repartition: as long as calls",
        "warning",
        _by_age,
    ),
    Rule(
        "segment.bytes",
        "Kafka compacts no segment that it still writes to",
        ("changelog",),
        "at most 16777216 (16 MiB)",
        "warning",
        _segments,
    ),
    Rule("segment.index.bytes", "how many records a segment may have, a hundred times more than it needs"),
    Rule("segment.jitter.ms", "spreads segment.ms"),
    Rule(
        "segment.ms",
        "for how long a quiet partition keeps what was forgotten; elsewhere segment.bytes comes first",
        ("changelog",),
        "at most 86400000 (1 d); made with 3600000",
        "warning",
        _segment_age,
    ),
    Rule(
        "unclean.leader.election.enable",
        "such an election loses records that were acknowledged, and offsets with them",
        _SAFE,
        "`false`",
        "warning",
        _unclean,
    ),
    Rule("message.downconversion.enable", "for consumers that are older than any of ours (until Kafka 3)"),
    Rule("message.format.version", "without effect since Kafka 3.0 (until Kafka 3)"),
    Rule(
        "message.timestamp.difference.max.ms",
        "the limit in both directions (until Kafka 3)",
        ("calls", "repartition", *OUTPUTS),
        "as message.timestamp.before.max.ms",
        "warning",
        _before,
    ),
)
"""Every setting of a topic, in the order of their names, those that only older brokers have at the end."""
