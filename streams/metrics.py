"""Every metric, once: its name, type, labels, buckets and meaning; and what makes them move.

The metrics below are the only list there is: the exposition and docs/metrics.md are written from it. What
happens in batches is added up by the caller and handed over in batches (a cut's tally, a fetch, a commit), so
nothing here is done once a record. What can be looked at instead is looked at when somebody asks. Everything
belongs to the event loop's thread; there are no locks.
"""

from __future__ import annotations

import platform
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.metadata import version
from itertools import accumulate, product
from math import inf
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client import Metric as Family
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from streams.calls.ledger import Tally
from streams.calls.money import ACTIVE_CURRENCIES
from streams.calls.state import RANK, TERMINAL
from streams.codecs import ANOMALIES, REASONS, STATUSES, AnsweredBy, ClosedBy, Direction
from streams.settings import Settings

_UNITS: Final = ("seconds", "records")
# Durations and prices come from outside and may be any number: a counter that has once been given 1e300
# moves no more.
_MOST: Final = 1e12


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric: `name` as it is exposed, `help` in words.

    The values of a label are a closed set; those of one with an empty tuple come from the deployment or the
    data. A counter whose labels are all closed shows each series from the start, at 0, so that a rate sees
    the first event.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram", "info"]
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Upper bounds of a histogram's buckets, each included; the last one, infinity, goes without saying.
    buckets: tuple[float, ...] = ()

    @property
    def unit(self) -> str:
        """The unit the name ends with, as OpenMetrics declares it; "" without one."""
        return next((unit for unit in _UNITS if self.name.endswith(f"_{unit}")), "")

    def series(self) -> Iterator[tuple[str, ...]]:
        """The label values of the series that are there from the start."""
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
    "Call events that are a duplicate (it says nothing new) or out of order (its call is further already).",
    kind=("duplicate", "out-of-order"),
)
KEY_MISMATCHES = _counter(
    "telefonie_records_key_mismatch_total",
    "Call events whose record key is not their call id: events of one call may then lie in two partitions.",
)
COMPLETED = _counter(
    "telefonie_calls_completed_total",
    "Calls closed, by the last status known then; amendments are not counted again.",
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
    "Anomalies of closed calls, each once a call.",
    anomaly=tuple(ANOMALIES),
)
CHARGES = _counter(
    "telefonie_call_charges_total",
    "What closed calls cost, in units of the currency; rounded: for watching, not for billing.",
    currency=(),
)
REFUNDS = _counter(
    "telefonie_call_refunds_total",
    "What prices above zero and amendments gave back, in units of the currency; rounded like the charges.",
    currency=(),
)
DURATION = _histogram(
    "telefonie_call_duration_seconds",
    "Duration of closed calls, as reported, else from start to end.",
    *(1, 5, 10, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400),
)
RING = _histogram(
    "telefonie_call_ring_seconds",
    "Time that closed calls rang until they were answered or given up.",
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
    "The setting: an open call of which nothing is heard for longer is closed.",
)
EVENT_AGE = _histogram(
    "telefonie_event_age_seconds",
    "Time from the timestamp of a record to the commit of what it did; the records of a batch share one.",
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 43_200, 172_800),
)
LAG = _gauge(
    "telefonie_consumer_lag_records",
    "Records between the committed offset and the end of the partition.",
    topic=(),
    partition=(),
)
LOG_END = _gauge(
    "telefonie_log_end_offset",
    "The end of the partition, as far as it may be read: whatever the worker does, it grows with the topic.",
    topic=(),
    partition=(),
)
OFFSET_AGE = _gauge(
    "telefonie_committed_offset_age_seconds",
    "How far commits are behind in time: what lay in the partition so long ago is committed; 0 when all is. "
    "It grows while records wait and nothing is committed.",
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
    "Records processed in one go.",
    *(1, 10, 50, 100, 250, 500, 1_000, 2_500, 5_000),
)
BATCH_SECONDS = _histogram(
    "telefonie_batch_seconds",
    "Time to process them; the event loop does nothing else meanwhile.",
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)
COMMIT_SECONDS = _histogram(
    "telefonie_commit_seconds",
    "Time to commit outputs, state and offsets.",
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
PARTITIONS = _gauge(
    "telefonie_calls_topic_partitions",
    "Partitions of the topic whose events are applied, whoever has them: the workers together should tell of so many.",
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
REBALANCES = _counter("telefonie_rebalances_total", "Times that partitions were assigned to this worker.")
BUILD = Metric(
    "telefonie_build_info",
    "info",
    "What runs: always 1.",
    {"version": (), "python": (), "guarantee": (), "store": ()},
)

TABLE: Final = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
"""Every metric, in the order in which it is exposed and documented."""


_Gauges: TypeAlias = dict[Metric, dict[tuple[str, ...], float]]


class PartitionSample(NamedTuple):
    """One assigned partition of the topic whose events are applied, as it is at this moment."""

    number: int
    #: The offset from which a successor would go on; None until it is known, like the next.
    committed: int | None
    #: The end of the log, as far as this worker may read it (under transactions: the last stable offset).
    end: int | None
    #: Records of the changelog not yet read back.
    recovery_remaining: int
    #: Calls remembered, open and closed.
    calls: int
    #: Epoch ms; negative before the first record.
    stream_time: int
    #: Epoch ms of the last commit by this worker; None before it.
    committed_at: int | None = None


class Reached(NamedTuple):
    """How far an assigned partition of any topic is committed, as of `PartitionSample`."""

    topic: str
    number: int
    committed: int | None
    end: int | None
    committed_at: int | None


class Sample(NamedTuple):
    """What a worker holds at this moment."""

    #: Open calls by status; a status without any may be left out.
    open_calls: Mapping[str, int]
    #: Event time (epoch ms) of the first event of the oldest open call; None without one.
    oldest_open: int | None
    partitions: Sequence[PartitionSample]
    #: Partitions of the topic whose events are applied; None until it is known.
    of: int | None = None
    #: Where events are repartitioned: those of the calls topic.
    upstream: Sequence[Reached] = ()


class Source(Protocol):
    """Who can say what the worker holds; asked once a scrape."""

    def sample(self) -> Sample:
        """The state of this moment; called on the event loop, which it holds up."""


class _Histogram:
    """Counts by bucket. Unlike that of the client library it takes many equal observations in one step."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        value = min(value, _MOST)
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def family(self, metric: Metric) -> Family:
        bounds = map(floatToGoString, (*self._bounds, inf))
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        return HistogramMetricFamily(metric.name, metric.help, buckets, self._sum, unit=metric.unit)


class _Position:
    """How far a committed offset is behind the end of its partition, in time.

    While it is behind, one point of the log is marked with the time at which it was the end. Once the mark is
    committed, so is everything before it, and the next mark is set: an age may be up to twice the true one.
    """

    def __init__(self) -> None:
        self._behind_since = self._marked_at = 0.0
        self._mark: int | None = None

    def age(self, now: float, committed: int, end: int) -> float:
        if committed >= end:
            self._mark = None
            return 0.0
        if self._mark is None:
            self._behind_since, self._marked_at, self._mark = now, now, end
        elif committed >= self._mark:
            self._behind_since, self._marked_at, self._mark = self._marked_at, now, end
        return max(0.0, now - self._behind_since)


class Metrics(Collector):
    """The metrics of one worker, in a registry of their own; `clock` tells the wall clock in seconds.

    Counters start at 0 with the process, as Prometheus expects.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._topic = settings.source_topic
        self._call_timeout = settings.call_timeout / 1000
        self._source: Source | None = None
        self._counts = {
            metric: dict.fromkeys(metric.series(), 0.0) for metric in TABLE if metric.kind == "counter"
        }
        self._histograms = {
            metric: _Histogram(metric.buckets) for metric in TABLE if metric.kind == "histogram"
        }
        self._positions: dict[tuple[str, int], _Position] = {}
        self._build = {
            "version": version("telefonie-streams"),
            "python": platform.python_version(),
            "guarantee": settings.guarantee,
            "store": settings.store,
        }
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    # -- what moves them

    def watch(self, source: Source) -> None:
        """Ask `source` at each scrape; until there is one, what only it can say is absent."""
        self._source = source

    def count(self, tally: Tally) -> None:
        """Add what one committed cut did."""
        for direction, events in tally.events.items():
            for status, number in events.items():
                self._add(EVENTS, (status, direction), number)
        for reason, number in tally.rejected.items():
            self._add(REJECTED, (reason,), number)
        for kind, number in tally.unchanged.items():
            self._add(UNCHANGED, (kind,), number)
        for anomaly, number in tally.anomalies.items():
            self._add(ANOMALIES_FOUND, (anomaly,), number)
        for closing, number in tally.completed.items():
            self._add(COMPLETED, closing, number)
        for answer, number in tally.answered.items():
            self._add(ANSWERED, answer, number)
        self._add(KEY_MISMATCHES, (), tally.key_mismatches)
        self._add(AMENDED, (), tally.amendments)
        self._add_money(CHARGES, tally.charges)
        self._add_money(REFUNDS, tally.refunds)
        for metric, values in ((DURATION, tally.durations), (RING, tally.rings)):
            observe = self._histograms[metric].observe
            for value in values:
                observe(value)

    def committed(self, ages: Iterable[tuple[int, int]]) -> None:
        """Records were committed: pairs of an age in ms (below 0 counts as 0) and how many share it."""
        observe = self._histograms[EVENT_AGE].observe
        for age, records in ages:
            observe(max(0, age) / 1000, records)

    def progressed(self, topic: str, partition: int, committed: int, end: int) -> None:
        """A commit has moved a partition to offset `committed`, of a log that ends at `end`."""
        self.offset_age(topic, partition, committed, end)

    def batch(self, records: int, seconds: float) -> None:
        """A batch was processed, in so long."""
        self._histograms[BATCH_RECORDS].observe(records)
        self._histograms[BATCH_SECONDS].observe(seconds)

    def commit(self, seconds: float) -> None:
        """A commit was made, in so long."""
        self._histograms[COMMIT_SECONDS].observe(seconds)

    def rebalanced(self) -> None:
        """Partitions were assigned anew."""
        self._add(REBALANCES, (), 1)

    def _add(self, metric: Metric, labels: tuple[str, ...], number: float) -> None:
        if number:
            self._counts[metric][labels] += number

    def _add_money(self, metric: Metric, amounts: Mapping[str, Decimal]) -> None:
        for currency, amount in amounts.items():
            label = (currency if currency in ACTIVE_CURRENCIES else "other",)
            self._counts[metric].setdefault(label, 0.0)
            self._add(metric, label, float(min(amount, Decimal(_MOST))))

    def offset_age(self, topic: str, partition: int, committed: int, end: int) -> float:
        """Seconds by which commits are behind in time, see `telefonie_committed_offset_age_seconds`."""
        position = self._positions.setdefault((topic, partition), _Position())
        return position.age(self._clock(), committed, end)

    # -- what is exposed

    def collect(self) -> Iterator[Family]:
        """The metrics of this moment, in the order of the table (called by the registry)."""
        sample = self._source.sample() if self._source else None
        gauges = self._gauges(sample) if sample else {}
        for metric in TABLE:
            if metric in self._counts:
                yield self._counter(metric)
            elif metric in self._histograms:
                yield self._histograms[metric].family(metric)
            elif metric.kind == "info":
                yield InfoMetricFamily(metric.name.removesuffix("_info"), metric.help, self._build)
            elif metric in gauges:
                yield _gauge_family(metric, gauges[metric])

    def _counter(self, metric: Metric) -> Family:
        family = CounterMetricFamily(metric.name, metric.help, labels=tuple(metric.labels))
        for labels, number in self._counts[metric].items():
            family.add_metric(labels, number)
        return family

    def _gauges(self, sample: Sample) -> _Gauges:
        oldest = sample.oldest_open
        gauges: _Gauges = {
            OPEN: {(status,): sample.open_calls.get(status, 0) for (status,) in OPEN.series()},
            OLDEST_OPEN: {(): 0.0 if oldest is None else max(0.0, self._clock() - oldest / 1000)},
            CALL_TIMEOUT: {(): self._call_timeout},
        }
        if sample.of is not None:
            gauges[PARTITIONS] = {(): sample.of}
        return gauges | self._of_partitions(sample)

    def _of_partitions(self, sample: Sample) -> _Gauges:
        gauges: _Gauges = {metric: {} for metric in TABLE if "partition" in metric.labels}
        reached = list(sample.upstream)
        for part in sample.partitions:
            reached.append(Reached(self._topic, part.number, part.committed, part.end, part.committed_at))
            number = str(part.number)
            gauges[RECOVERY][number,] = part.recovery_remaining
            gauges[TABLE_CALLS][number,] = part.calls
            if part.stream_time >= 0:
                gauges[STREAM_TIME][number,] = part.stream_time / 1000
        for place in reached:
            labels = place.topic, str(place.number)
            if place.committed is not None and place.end is not None:
                gauges[LOG_END][labels] = place.end
                gauges[LAG][labels] = max(0, place.end - place.committed)
                gauges[OFFSET_AGE][labels] = self.offset_age(
                    place.topic, place.number, place.committed, place.end
                )
            if place.committed_at is not None:
                gauges[LAST_COMMIT][labels] = place.committed_at / 1000
        assigned = {(place.topic, place.number) for place in reached}
        self._positions = {place: at for place, at in self._positions.items() if place in assigned}
        return gauges


def _gauge_family(metric: Metric, values: Mapping[tuple[str, ...], float]) -> Family:
    family = GaugeMetricFamily(metric.name, metric.help, labels=tuple(metric.labels), unit=metric.unit)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


_INTRODUCTION = """\
# Metrics

The worker serves them at `/metrics`, in the Prometheus text format, or as OpenMetrics when asked for.
Counters start at 0 with the process. A histogram has the series `_bucket`, `_sum` and `_count`.

A worker tells of the partitions that are assigned to it, so sum over the workers. No label carries anything
of a call, and each takes few values: `currency` is an active code of ISO 4217, or `other`. Beside these there
are the customary `process_…` metrics.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def reference() -> str:
    """docs/metrics.md, written from the table of metrics."""
    rows = (f"| `{m.name}` | {m.kind} | {_labels(m)} | {_meaning(m)} |\n" for m in TABLE)
    return _INTRODUCTION + "".join(rows)


def _labels(metric: Metric) -> str:
    return "<br>".join(
        f"`{label}`" + (": " + ", ".join(values) if values else "") for label, values in metric.labels.items()
    )


def _meaning(metric: Metric) -> str:
    if not metric.buckets:
        return metric.help
    return f"{metric.help} Buckets up to " + ", ".join(f"{bound:g}" for bound in metric.buckets) + "."


if __name__ == "__main__":
    print(reference(), end="")
