"""What makes the metrics move, and how they are exposed.

What happens in batches is added up by the caller and passed on in batches (the tally of a checkpoint, a fetch, a
commit), so nothing here runs once per record. What can be looked up instead is looked up at each scrape. Everything
belongs to the event loop's thread; there are no locks.
"""

from __future__ import annotations

import platform
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from importlib.metadata import version
from itertools import accumulate
from math import inf
from typing import Final, TypeAlias

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
from streams.settings import Settings
from streams.worker.metrics import table as m
from streams.worker.metrics.sample import Reached, Sample, SampleSource
from streams.worker.metrics.table import TABLE, Metric

# Durations and prices come from outside and may be any number: a counter that has once been given 1e300 no longer
# moves.
_MOST: Final = 1e12

_Gauges: TypeAlias = dict[Metric, dict[tuple[str, ...], float]]


class _Histogram:
    """Counts by bucket. Unlike the client library's histogram, it takes many equal observations in one step."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        value = min(value, _MOST)
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def observe_all(self, values: Iterable[float]) -> None:
        """Many at once, in a quarter of the time that they take one by one."""
        ordered, before = sorted(values), 0
        for bucket, bound in enumerate((*self._bounds, inf)):
            upto = bisect_right(ordered, bound, before)
            self._counts[bucket] += upto - before
            before = upto
        if ordered and ordered[-1] > _MOST:
            ordered = [min(value, _MOST) for value in ordered]
        self._sum += sum(ordered)

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
    """The metrics of one worker, in a registry of their own; `clock` returns the wall clock in seconds.

    Counters start at 0 with the process, as Prometheus expects.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._topic = settings.source_topic
        self._call_timeout = settings.call_timeout / 1000
        self._source: SampleSource | None = None
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

    def watch(self, source: SampleSource) -> None:
        """Query `source` at each scrape; until there is one, its metrics are absent."""
        self._source = source

    def count(self, tally: Tally) -> None:
        """Add what one committed checkpoint has done."""
        for direction, events in tally.events.items():
            for status, number in events.items():
                self._add(m.EVENTS, (status, direction), number)
        for reason, number in tally.rejected.items():
            self._add(m.REJECTED, (reason,), number)
        for kind, number in tally.unchanged.items():
            self._add(m.UNCHANGED, (kind,), number)
        for anomaly, number in tally.anomalies.items():
            self._add(m.ANOMALIES_FOUND, (anomaly,), number)
        for closing, number in tally.completed.items():
            self._add(m.COMPLETED, closing, number)
        for answer, number in tally.answered.items():
            self._add(m.ANSWERED, answer, number)
        self._add(m.KEY_MISMATCHES, (), tally.key_mismatches)
        self._add(m.TIMEOUTS_FAILED, (), tally.timeouts_failed)
        self._add(m.AMENDED, (), tally.amendments)
        self._add_money(m.CHARGES, tally.charges)
        self._add_money(m.REFUNDS, tally.refunds)
        for metric, values in ((m.DURATION, tally.durations), (m.RING, tally.rings)):
            self._histograms[metric].observe_all(values)

    def committed(self, ages: Iterable[tuple[int, int]]) -> None:
        """Records were committed: pairs of an age in ms (below 0 counts as 0) and how many share it."""
        observe = self._histograms[m.EVENT_AGE].observe
        for age, records in ages:
            observe(max(0, age) / 1000, records)

    def progressed(self, topic: str, partition: int, committed: int, end: int) -> None:
        """A commit has moved a partition to offset `committed`, of a log that ends at `end`."""
        self.offset_age(topic, partition, committed, end)

    def batch(self, records: int, seconds: float) -> None:
        """A batch was processed, in this time."""
        self._histograms[m.BATCH_RECORDS].observe(records)
        self._histograms[m.BATCH_SECONDS].observe(seconds)

    def commit(self, seconds: float) -> None:
        """A commit was made, in this time."""
        self._histograms[m.COMMIT_SECONDS].observe(seconds)

    def rebalanced(self) -> None:
        """Partitions were reassigned."""
        self._add(m.REBALANCES, (), 1)

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
            if metric.kind == "counter":
                yield _counter_family(metric, gauges.get(metric, self._counts[metric]))
            elif metric in self._histograms:
                yield self._histograms[metric].family(metric)
            elif metric.kind == "info":
                yield InfoMetricFamily(metric.name.removesuffix("_info"), metric.help, self._build)
            elif metric in gauges:
                yield _gauge_family(metric, gauges[metric])

    def _gauges(self, sample: Sample) -> _Gauges:
        oldest = sample.oldest_open
        gauges: _Gauges = {m.CALL_TIMEOUT: {(): self._call_timeout}}
        if (counts := sample.open_calls) is not None:
            gauges[m.OPEN] = {(status,): counts.get(status, 0) for (status,) in m.OPEN.series()}
            gauges[m.OLDEST_OPEN] = {(): 0.0 if oldest is None else max(0.0, self._clock() - oldest / 1000)}
        if sample.of is not None:
            gauges[m.PARTITIONS] = {(): sample.of}
        if sample.clock_offset is not None:
            gauges[m.CLOCK_OFFSET] = {(): sample.clock_offset}
        return gauges | self._of_partitions(sample)

    def _of_partitions(self, sample: Sample) -> _Gauges:
        gauges: _Gauges = {metric: {} for metric in TABLE if "partition" in metric.labels}
        reached = list(sample.upstream)
        for part in sample.partitions:
            at = part.committed, part.end, part.committed_at, part.hidden, part.skipped
            reached.append(Reached(self._topic, part.number, *at))
            number = str(part.number)
            gauges[m.RECOVERY][number,] = part.recovery_remaining
            gauges[m.TABLE_CALLS][number,] = part.calls
            if part.stream_time >= 0:
                gauges[m.STREAM_TIME][number,] = part.stream_time / 1000
        for place in reached:
            labels = place.topic, str(place.number)
            if place.committed is not None and place.end is not None:
                gauges[m.LOG_END][labels] = place.end
                gauges[m.LAG][labels] = max(0, place.end - place.committed)
                gauges[m.OFFSET_AGE][labels] = self.offset_age(
                    place.topic, place.number, place.committed, place.end
                )
            if place.skipped is not None:
                gauges[m.SKIPPED][labels] = place.skipped
            if place.hidden is not None:
                gauges[m.HIDDEN][labels] = place.hidden
            if place.committed_at is not None:
                gauges[m.LAST_COMMIT][labels] = place.committed_at / 1000
        assigned = {(place.topic, place.number) for place in reached}
        self._positions = {place: at for place, at in self._positions.items() if place in assigned}
        return gauges


def _counter_family(metric: Metric, values: Mapping[tuple[str, ...], float]) -> Family:
    family = CounterMetricFamily(metric.name, metric.help, labels=tuple(metric.labels))
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _gauge_family(metric: Metric, values: Mapping[tuple[str, ...], float]) -> Family:
    family = GaugeMetricFamily(metric.name, metric.help, labels=tuple(metric.labels), unit=metric.unit)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
