"""What is wrong with one setting of a topic: one function for each setting that matters, named in the table in `rules`.

Each is called only for topics for which its setting matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streams.kafka.topics.existing import Case, Existing, Fault, Severity, policies
from streams.kafka.topics.specification import ANY_TIME, LARGEST, in_sync
from streams.settings import FOREVER, PREFIX, format_duration


def cleanup_policy(case: Case) -> Iterator[Fault]:
    """What is wrong with `cleanup.policy`."""
    wanted = case.topic.config["cleanup.policy"]
    has, needs = policies(case.value), policies(wanted)
    if has == needs:
        return
    role, text = case.topic.role, f"has cleanup.policy {','.join(sorted(has)) or 'none'}, needs {wanted}"
    if role == "changelog" and has:
        yield Fault("error", f"{text}: state would be deleted while it is needed", wanted)
    elif role == "redriven":
        yield Fault("error", f"{text}: what was sent back could be sent again once its entry is gone", wanted)
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


def compression_type(case: Case) -> Iterator[Fault]:
    """What is wrong with `compression.type`."""
    if case.value == "uncompressed":
        yield Fault(
            "warning",
            "has compression.type uncompressed, set it to producer: records that fit only if "
            "compressed are refused",
            "producer",
        )


def delete_retention(case: Case) -> Iterator[Fault]:
    """What is wrong with `delete.retention.ms`."""
    wanted = int(case.topic.config["delete.retention.ms"])
    text = f"has delete.retention.ms {case.value}, set it to {wanted}"
    if int(case.value) > wanted:
        why = "for this long a restart reads a tombstone for each forgotten call"
        yield Fault("warning", f"{text}: {why}", str(wanted))
    if int(case.value) < wanted:
        why = (
            "a worker that restores for longer, or whose store on disk is older, may take a forgotten "
            "call for an open one"
        )
        yield Fault("warning", f"{text}: {why}", str(wanted))


def max_message_bytes(case: Case) -> Iterator[Fault]:
    """What is wrong with `max.message.bytes`."""
    role = case.topic.role
    needs, writer = LARGEST[role], "a redrive" if role == "redriven" else "the worker"
    if int(case.value) < needs:
        yield Fault(
            "error",
            f"has max.message.bytes {case.value}, set it to {needs} or more: the brokers would refuse "
            f"the largest record that is written there, and {writer} would stop",
            case.topic.config.get("max.message.bytes", str(needs)),
        )


def timestamp_after(case: Case) -> Iterator[Fault]:
    """What is wrong with `message.timestamp.after.max.ms`."""
    name, wanted = "message.timestamp.after.max.ms", case.topic.config["message.timestamp.after.max.ms"]
    if case.existing.config.get("message.timestamp.type") == "LogAppendTime":
        return  # the timestamps are not checked
    if case.topic.role == "repartition":
        if case.value != wanted:
            yield Fault("warning", f"has {name} {case.value}, set it to {wanted}: {_LOST_TIME}", wanted)
    elif int(case.value) < case.settings.max_clock_skew:
        skew = f"{PREFIX}MAX_CLOCK_SKEW {format_duration(case.settings.max_clock_skew)}"
        yield Fault(
            "warning", f"has {name} {case.value}, less than {skew}, set it to {wanted}: {_LOST_TIME}", wanted
        )


_LOST_TIME: Final = "a record further ahead gets the time at which it is written instead of its own"


def timestamp_before(case: Case) -> Iterator[Fault]:
    """What is wrong with `message.timestamp.before.max.ms`."""
    if case.existing.config.get("message.timestamp.type") == "LogAppendTime":
        return
    name, most = case.setting, ANY_TIME
    if case.topic.role == "calls":
        if int(case.value) < case.settings.call_retention:
            kept = f"{PREFIX}CALL_RETENTION {format_duration(case.settings.call_retention)}"
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
                f"has {name} {case.value}, set it to {most}: an older event gets the time at which it "
                "is written",
                str(most),
            )
    elif int(case.value) < min(_kept(case.existing) / 2, most):
        yield Fault(
            "warning",
            f"has {name} {case.value}, less than half of its retention, set it to {most}: older records "
            "get the time at which they are written",
            str(most),
        )


def _kept(existing: Existing) -> float:
    """For how long (ms) a topic keeps records, by their timestamps."""
    kept = int(existing.config.get("retention.ms", FOREVER))
    return float("inf") if kept == FOREVER else kept


def timestamp_type(case: Case) -> Iterator[Fault]:
    """What is wrong with `message.timestamp.type`."""
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


def dirty_ratio(case: Case) -> Iterator[Fault]:
    """What is wrong with `min.cleanable.dirty.ratio`."""
    if float(case.value) > 0.5:
        wanted = case.topic.config["min.cleanable.dirty.ratio"]
        yield Fault(
            "warning",
            f"has min.cleanable.dirty.ratio {case.value}, set it to {wanted}: a restart reads more than "
            "twice the state",
            wanted,
        )


def compaction_lag(case: Case) -> Iterator[Fault]:
    """What is wrong with `min.compaction.lag.ms`."""
    most = int(case.topic.config["segment.ms"])
    if int(case.value) > most:
        yield Fault(
            "warning",
            f"has min.compaction.lag.ms {case.value}, set it to 0: nothing more recent is compacted, "
            "and a restart reads all of it",
            "0",
        )


def replicas_in_sync(case: Case) -> Iterator[Fault]:
    """What is wrong with `min.insync.replicas`."""
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


def retention_bytes(case: Case) -> Iterator[Fault]:
    """What is wrong with `retention.bytes`."""
    if int(case.value) != FOREVER and _is_deleted(case.existing):
        lost = (
            "before they are read"
            if case.topic.role in ("calls", "repartition")
            else "however recent they are"
        )
        yield Fault(
            "warning",
            f"keeps retention.bytes {case.value} a partition, set it to {FOREVER}: beyond that size, "
            f"records are removed {lost}",
            str(FOREVER),
        )


def retention(case: Case) -> Iterator[Fault]:
    """What is wrong with `retention.ms`."""
    if not _is_deleted(case.existing):
        return
    kept = _kept(case.existing)
    short = [(wanted, whose, why) for wanted, whose, why in _demands(case) if kept < _endless(wanted)]
    if short:
        wanted, whose, why = max(short, key=lambda demand: _endless(demand[0]))
        shown = "forever" if wanted == FOREVER else format_duration(wanted)
        yield Fault(
            "warning",
            f"keeps records for {format_duration(int(kept) or 1)} (retention.ms {case.value}), less than {whose} "
            f"{shown}: {why}",
            str(wanted),
        )


def _demands(case: Case) -> Iterator[tuple[int, str, str]]:
    """For how long records are to be kept (ms), what requires it, and why."""
    settings, calls = case.settings, case.calls
    if case.topic.role == "calls":
        yield (
            settings.input_retention,
            f"{PREFIX}INPUT_RETENTION",
            "events that wait longer than that, while no worker runs, are lost",
        )
        return
    incoming = int(calls.config.get("retention.ms", "0")) if calls else 0
    if case.topic.role == "repartition":
        yield incoming, settings.calls_topic, "what is there for longer may be removed before it is applied"
        return
    yield settings.call_retention, f"{PREFIX}CALL_RETENTION", "amendments need their call"
    yield incoming, settings.calls_topic, "the results of events that are still there may be gone"


def _endless(kept: int) -> float:
    return float("inf") if kept == FOREVER else kept


def _is_deleted(existing: Existing) -> bool:
    return "delete" in policies(existing.config.get("cleanup.policy", ""))


def segment_bytes(case: Case) -> Iterator[Fault]:
    """What is wrong with `segment.bytes`."""
    wanted = int(case.topic.config["segment.bytes"])
    if int(case.value) > wanted:
        yield Fault(
            "warning",
            f"has segment.bytes {case.value}, set it to {wanted}: nothing is compacted before its "
            "segment is full or an hour old, and a restart reads all of it",
            str(wanted),
        )


def segment_age(case: Case) -> Iterator[Fault]:
    """What is wrong with `segment.ms`."""
    wanted = int(case.topic.config["segment.ms"])
    if int(case.value) > 24 * wanted:
        yield Fault(
            "warning",
            f"has segment.ms {case.value}, set it to {wanted}: on a quiet partition, forgotten calls "
            "stay for that long, including phone numbers",
            str(wanted),
        )


def unclean_election(case: Case) -> Iterator[Fault]:
    """What is wrong with `unclean.leader.election.enable`."""
    if case.value == "true":
        yield Fault(
            "warning",
            "has unclean.leader.election.enable true, set it to false: an election may lose "
            "acknowledged records, and workers that notice it stop",
            "false",
        )
