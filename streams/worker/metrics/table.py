"""Every metric, once: its name, type, labels, buckets and meaning.

There is no other list: the exposition and docs/metrics.md are generated from this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final, Literal, get_args

from streams.calls.state import RANK, TERMINAL
from streams.codecs import ANOMALIES, REASONS, STATUSES, AnsweredBy, ClosedBy, Direction

_UNITS: Final = ("seconds", "records")


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric: `name` as it is exposed, `help` in words.

    The values of a label are a closed set; an empty tuple means that they come from the deployment or the data. A
    counter whose labels are all closed exposes each series from the start, at 0, so that a rate includes the first
    event.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram", "info"]
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Upper bounds of a histogram's buckets, inclusive, without the last one, infinity.
    buckets: tuple[float, ...] = ()

    @property
    def unit(self) -> str:
        """The unit in which the name ends, as OpenMetrics declares it; "" if there is none."""
        return next((unit for unit in _UNITS if self.name.endswith(f"_{unit}")), "")

    def series(self) -> Iterator[tuple[str, ...]]:
        """The label values of the series that exist from the start."""
        return product(*self.labels.values())


def _counter(name: str, meaning: str, **labels: tuple[str, ...]) -> Metric:
    return Metric(name, "counter", meaning, labels)


def _gauge(name: str, meaning: str, **labels: tuple[str, ...]) -> Metric:
    return Metric(name, "gauge", meaning, labels)


def _histogram(name: str, meaning: str, *buckets: float) -> Metric:
    return Metric(name, "histogram", meaning, buckets=buckets)


_DIRECTIONS: Final[tuple[str, ...]] = get_args(Direction)

EVENTS = _counter(
    "telefonie_call_events_total", "Call events applied.", status=STATUSES, direction=_DIRECTIONS
)
REJECTED = _counter("telefonie_records_rejected_total", "Records sent to the dead letters.", reason=REASONS)
UNCHANGED = _counter(
    "telefonie_call_events_unchanged_total",
    "Call events that are a duplicate (nothing new) or out of order (the call is already in a later state).",
    kind=("duplicate", "out-of-order"),
)
KEY_MISMATCHES = _counter(
    "telefonie_records_key_mismatch_total",
    "Call events whose record key is not their call id: the events of a call may then be in two partitions.",
)
TIMEOUTS_FAILED = _counter(
    "telefonie_call_timeouts_failed_total",
    "Calls that could not be closed by their timeout because the processor itself raised; they stay open.",
)
COMPLETED = _counter(
    "telefonie_calls_completed_total",
    "Calls closed, by their last status at that time; amendments are not counted again.",
    status=STATUSES,
    direction=_DIRECTIONS,
    closed_by=get_args(ClosedBy),
)
ANSWERED = _counter(
    "telefonie_calls_answered_total",
    "Closed calls that had been answered.",
    direction=_DIRECTIONS,
    answered_by=get_args(AnsweredBy),
)
AMENDED = _counter("telefonie_calls_amended_total", "Revisions of closed calls published after their first.")
ANOMALIES_FOUND = _counter(
    "telefonie_call_anomalies_total",
    "Anomalies of closed calls, each counted once per call.",
    anomaly=tuple(ANOMALIES),
)
CHARGES = _counter(
    "telefonie_call_charges_total",
    "Charges of closed calls, in units of the currency; rounded, for watching, not for billing.",
    currency=(),
)
REFUNDS = _counter(
    "telefonie_call_refunds_total",
    "Amounts refunded by positive prices and by amendments, in units of the currency; rounded like the "
    "charges.",
    currency=(),
)
DURATION = _histogram(
    "telefonie_call_duration_seconds",
    "Duration of closed calls, as reported, otherwise from start to end.",
    *(1, 5, 10, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400),
)
RING = _histogram(
    "telefonie_call_ring_seconds",
    "Time for which closed calls rang until they were answered or ended.",
    *(1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120),
)
OPEN = _gauge(
    "telefonie_calls_open",
    "Calls that have not ended, by their last status.",
    status=tuple(status for status in RANK if status not in TERMINAL),
)
OLDEST_OPEN = _gauge(
    "telefonie_oldest_open_call_seconds", "Time since the first event of the oldest open call; 0 without one."
)
CALL_TIMEOUT = _gauge(
    "telefonie_call_timeout_seconds",
    "The setting TELEFONIE_CALL_TIMEOUT: an open call without events for longer than this is closed.",
)
EVENT_AGE = _histogram(
    "telefonie_event_age_seconds",
    "Time from the timestamp of a record to the commit of its effects; the records of a batch share "
    "one value.",
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 43_200, 172_800),
)
LAG = _gauge(
    "telefonie_consumer_lag_records",
    "Records between the committed offset and the end of the partition, including those behind an open "
    "transaction.",
    topic=(),
    partition=(),
)
HIDDEN = _gauge(
    "telefonie_records_hidden",
    "Records behind an open transaction, which cannot be read before it ends.",
    topic=(),
    partition=(),
)
SKIPPED = _counter(
    "telefonie_records_skipped_total",
    "Records that the group was moved past without processing them, counted in the state since the "
    "partition was first read; 0 again once they are accepted.",
    topic=(),
    partition=(),
)
LOG_END = _gauge(
    "telefonie_log_end_offset",
    "The end of the partition (the high watermark): it grows with the topic, whatever the worker does.",
    topic=(),
    partition=(),
)
OFFSET_AGE = _gauge(
    "telefonie_committed_offset_age_seconds",
    "How far commits are behind, in time: everything that was in the partition this long ago is "
    "committed; 0 when everything is. It grows while records wait and nothing is committed.",
    topic=(),
    partition=(),
)
LAST_COMMIT = _gauge(
    "telefonie_last_commit_timestamp_seconds",
    "When this worker last committed the partition, since 1970-01-01 UTC; absent before its first commit.",
    topic=(),
    partition=(),
)
BATCH_RECORDS = _histogram(
    "telefonie_batch_records",
    "Records processed at once.",
    *(1, 10, 50, 100, 250, 500, 1_000, 2_500, 5_000),
)
BATCH_SECONDS = _histogram(
    "telefonie_batch_seconds",
    "Time to process a batch; meanwhile the event loop does nothing else.",
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)
COMMIT_SECONDS = _histogram(
    "telefonie_commit_seconds",
    "Time to commit outputs, state and offsets.",
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
PARTITIONS = _gauge(
    "telefonie_calls_topic_partitions",
    "Partitions of the topic whose events are applied: the assigned partitions of all workers should "
    "add up to this.",
)
RECOVERY = _gauge(
    "telefonie_recovery_records_remaining",
    "Records of the changelog still to be read before the partition is processed.",
    partition=(),
)
TABLE_CALLS = _gauge("telefonie_table_calls", "Calls remembered, open and closed.", partition=())
STREAM_TIME = _gauge(
    "telefonie_stream_time_seconds",
    "The highest event time read, since 1970-01-01 UTC: the clock that closes and forgets calls.",
    partition=(),
)
CLOCK_OFFSET = _gauge(
    "telefonie_clock_offset_seconds",
    "This machine's clock minus the brokers' clock, which is the one used; absent until it is known.",
)
REBALANCES = _counter("telefonie_rebalances_total", "Times that partitions were assigned to this worker.")
BUILD = Metric(
    "telefonie_build_info",
    "info",
    "The version and the settings of this worker; always 1.",
    {"version": (), "python": (), "guarantee": (), "store": ()},
)

TABLE: Final = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
"""Every metric, in the order in which it is exposed and documented."""
