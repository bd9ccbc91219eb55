"""Metrics: each one moves, both formats are valid, and the number of series is bounded."""

import math
import shutil
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from support.calls import generate
from support.model import Idle

from streams.calls.ledger import Tally
from streams.calls.partition import CallsPartition, Rules
from streams.codecs import REASONS, STATUSES, CallDecoder
from streams.settings import Settings
from streams.worker.metrics import Metrics, PartitionSample, Reached, Sample
from streams.worker.metrics import table as m
from streams.worker.metrics.__main__ import reference
from streams.worker.metrics.table import TABLE, Metric

NOW = 1_800_000_000
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
CONTRACT = """
telefonie_call_events_total{status,direction} telefonie_records_rejected_total{reason}
telefonie_call_events_unchanged_total{kind} telefonie_records_key_mismatch_total{}
telefonie_calls_completed_total{status,direction,closed_by}
telefonie_calls_answered_total{direction,answered_by} telefonie_calls_amended_total{}
telefonie_call_anomalies_total{anomaly} telefonie_call_charges_total{currency}
telefonie_call_refunds_total{currency} telefonie_call_duration_seconds{} telefonie_call_ring_seconds{}
telefonie_calls_open{status} telefonie_oldest_open_call_seconds{} telefonie_event_age_seconds{}
telefonie_consumer_lag_records{topic,partition} telefonie_committed_offset_age_seconds{topic,partition}
telefonie_batch_records{} telefonie_batch_seconds{} telefonie_commit_seconds{}
telefonie_records_hidden{topic,partition} telefonie_clock_offset_seconds{}
telefonie_records_skipped_total{topic,partition} telefonie_call_timeouts_failed_total{}
telefonie_recovery_records_remaining{partition} telefonie_table_calls{partition} telefonie_rebalances_total{}
"""


class Worker:
    """Metrics with a clock and a state to set by hand."""

    def __init__(self) -> None:
        self.now = float(NOW)
        self.metrics = Metrics(Settings(), clock=lambda: self.now)
        self.metrics.watch(self)
        self.state = Sample({}, None, [PartitionSample(2, 10, 10, 0, 0, -1)])

    def sample(self) -> Sample:
        return self.state

    def partition(self, **changes: int | None) -> None:
        part = self.state.partitions[0]._replace(**changes)
        self.state = self.state._replace(partitions=[part])

    def count(self, **fields: object) -> None:
        tally = Tally()
        for name, value in fields.items():
            assert hasattr(tally, name)
            setattr(tally, name, value)
        self.metrics.count(tally)

    def series(self) -> dict[str, float]:
        return series(generate_latest(self.metrics.registry).decode())

    def moved(self, act: Callable[["Worker"], None]) -> dict[str, float]:
        """By how much an act moves each series; what was absent was 0."""
        before = self.series()
        act(self)
        changes = {key: value - before.get(key, 0) for key, value in self.series().items()}
        return {key: by for key, by in changes.items() if by and key.startswith("telefonie")}


def series(text: str) -> dict[str, float]:
    """`name{label="value"}` -> value, labels in order of their names."""
    found = {}
    for family in parse(text):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            key = f"{sample.name}{{{labels}}}"
            assert key not in found
            found[key] = sample.value
    return found


def an_event(worker: Worker) -> None:
    tally = Tally()
    tally.events["outbound"]["no-answer"] += 3
    worker.metrics.count(tally)


def lagging(worker: Worker) -> None:
    worker.partition(end=14)
    worker.series()
    worker.now += 5


# Metric -> what moves it, and what must have moved then (of a histogram: its sum and count).
MOVES: dict[Metric, tuple[Callable[[Worker], None], dict[str, float]]] = {
    m.EVENTS: (an_event, {'{direction="outbound",status="no-answer"}': 3}),
    m.REJECTED: (lambda w: w.count(rejected={"schema": 2, "empty": 0}), {'{reason="schema"}': 2}),
    m.UNCHANGED: (lambda w: w.count(unchanged={"out-of-order": 4}), {'{kind="out-of-order"}': 4}),
    m.KEY_MISMATCHES: (lambda w: w.count(key_mismatches=1), {"{}": 1}),
    m.TIMEOUTS_FAILED: (lambda w: w.count(timeouts_failed=1), {"{}": 1}),
    m.COMPLETED: (
        lambda w: w.count(completed={("ringing", "inbound", "timeout"): 2}),
        {'{closed_by="timeout",direction="inbound",status="ringing"}': 2},
    ),
    m.ANSWERED: (
        lambda w: w.count(answered={("inbound", "machine"): 7}),
        {'{answered_by="machine",direction="inbound"}': 7},
    ),
    m.AMENDED: (lambda w: w.count(amendments=5), {"{}": 5}),
    m.ANOMALIES_FOUND: (lambda w: w.count(anomalies={"no-history": 1}), {'{anomaly="no-history"}': 1}),
    m.CHARGES: (lambda w: w.count(charges={"EUR": Decimal("1.5")}), {'{currency="EUR"}': 1.5}),
    m.REFUNDS: (lambda w: w.count(refunds={"usd": Decimal("0.25")}), {'{currency="other"}': 0.25}),
    m.DURATION: (lambda w: w.count(durations=[4, 2.5]), {"_sum": 6.5, "_count": 2}),
    m.RING: (lambda w: w.count(rings=[1.0]), {"_sum": 1, "_count": 1}),
    m.OPEN: (
        lambda w: setattr(w, "state", w.state._replace(open_calls={"queued": 6})),
        {'{status="queued"}': 6},
    ),
    m.OLDEST_OPEN: (
        lambda w: setattr(w, "state", w.state._replace(oldest_open=(NOW - 90) * 1000)),
        {"{}": 90},
    ),
    m.PARTITIONS: (lambda w: setattr(w, "state", w.state._replace(of=16)), {"{}": 16}),
    m.EVENT_AGE: (lambda w: w.metrics.committed([(1500, 4), (-9, 1)]), {"_sum": 6, "_count": 5}),
    m.LAG: (lambda w: w.partition(end=14), {'{partition="2",topic="telefonie.calls"}': 4}),
    m.HIDDEN: (lambda w: w.partition(hidden=3), {'{partition="2",topic="telefonie.calls"}': 3}),
    m.SKIPPED: (lambda w: w.partition(skipped=20), {'{partition="2",topic="telefonie.calls"}': 20}),
    m.LOG_END: (lambda w: w.partition(end=14), {'{partition="2",topic="telefonie.calls"}': 4}),
    m.LAST_COMMIT: (
        lambda w: w.partition(committed_at=2500),
        {'{partition="2",topic="telefonie.calls"}': 2.5},
    ),
    m.OFFSET_AGE: (lagging, {'{partition="2",topic="telefonie.calls"}': 5}),
    m.BATCH_RECORDS: (lambda w: w.metrics.batch(500, 0.25), {"_sum": 500, "_count": 1}),
    m.BATCH_SECONDS: (lambda w: w.metrics.batch(500, 0.25), {"_sum": 0.25, "_count": 1}),
    m.COMMIT_SECONDS: (lambda w: w.metrics.commit(0.5), {"_sum": 0.5, "_count": 1}),
    m.RECOVERY: (lambda w: w.partition(recovery_remaining=8), {'{partition="2"}': 8}),
    m.TABLE_CALLS: (lambda w: w.partition(calls=9), {'{partition="2"}': 9}),
    m.STREAM_TIME: (lambda w: w.partition(stream_time=1500), {'{partition="2"}': 1.5}),
    m.CLOCK_OFFSET: (
        lambda w: setattr(w, "state", w.state._replace(clock_offset=-600.5)),
        {"{}": -600.5},
    ),
    m.REBALANCES: (lambda w: w.metrics.rebalanced(), {"{}": 1}),
}


def test_the_names_and_labels_are_the_contract() -> None:
    ours = {f"{metric.name}{{{','.join(metric.labels)}}}" for metric in TABLE}
    assert set(CONTRACT.split()) <= ours
    assert len({metric.name for metric in TABLE}) == len(TABLE)
    assert set(TABLE) - set(MOVES) == {m.BUILD, m.CALL_TIMEOUT}


@pytest.mark.parametrize("metric", MOVES, ids=lambda metric: metric.name)
def test_each_metric_moves(metric: Metric) -> None:
    act, expected = MOVES[metric]
    moved = Worker().moved(act)
    for labels, by in expected.items():
        key = metric.name + (labels if labels.startswith("{") else labels + "{}")
        assert moved.pop(key) == pytest.approx(by)
    # Lag, its age and the log's end move together, as do the two of a batch; buckets move with their histogram.
    log, batch = {m.LAG, m.LOG_END, m.OFFSET_AGE}, {m.BATCH_RECORDS, m.BATCH_SECONDS}
    siblings = next((group for group in (log, batch) if metric in group), {metric})
    allowed = {each.name + suffix for each in siblings for suffix in ("", "_bucket", "_sum", "_count")}
    assert {key.partition("{")[0] for key in moved} <= allowed


def test_the_build_is_told() -> None:
    (key,) = [key for key in Worker().series() if key.startswith("telefonie_build_info")]
    assert 'guarantee="exactly_once"' in key
    assert 'store="memory"' in key
    assert 'version="' in key


def test_the_setting_that_alerts_compare_with_is_told() -> None:
    metrics = Metrics(Settings(call_timeout=90_500))
    metrics.watch(Worker())
    assert series(generate_latest(metrics.registry).decode())["telefonie_call_timeout_seconds{}"] == 90.5


@pytest.mark.parametrize("seed", range(12))
def test_what_a_partition_did_is_what_is_counted(seed: int) -> None:
    chosen, steps = generate(Random(seed), 400)
    rules = Rules(
        chosen.topic, chosen.call_timeout, chosen.call_retention, chosen.max_clock_skew, chosen.kpi_window,
        CallDecoder(chosen.nulls),
    )  # fmt: skip
    partition, worker, published = CallsPartition(rules, 0), Worker(), 0
    for step in steps:
        if isinstance(step, Idle):
            partition.advance(step.until)
            partition.settle()
        else:
            stamp = -1 if step.timestamp is None else step.timestamp
            wall = 1 << 60 if step.clock is None else step.clock
            partition.process([(step.offset, stamp, step.key, step.value, step.headers)], wall)
        if step is steps[-1] or (isinstance(step, Idle) or step.offset % 7 == 0):
            checkpoint = partition.checkpoint()
            published += len(checkpoint.outputs["completed"])
            worker.metrics.count(checkpoint.tally)
    ledger, seen = partition.ledger, worker.series()

    def total(metric: Metric) -> float:
        return sum(value for key, value in seen.items() if key.startswith(metric.name + "{"))

    assert total(m.EVENTS) == ledger.applied
    assert total(m.REJECTED) == sum(ledger.rejected.values())
    assert total(m.COMPLETED) == sum(ledger.closed.values()) > 0
    assert total(m.COMPLETED) + total(m.AMENDED) == published


def test_both_formats_say_the_same() -> None:
    worker = Worker()
    for act, _ in MOVES.values():
        act(worker)
    registry = worker.metrics.registry
    text, other = generate_latest(registry).decode(), openmetrics(registry).decode()
    families = {family.name: family for family in parse_openmetrics(other)}
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name.startswith("telefonie")
    }
    plain = [
        sample for family in parse(text) for sample in family.samples if sample.name.startswith("telefonie")
    ]
    assert {(each.name, frozenset(each.labels.items())): each.value for each in plain} == samples
    assert families["telefonie_event_age_seconds"].unit == "seconds"
    assert families["telefonie_consumer_lag_records"].unit == "records"
    assert not [name for name, _ in samples if name.endswith("_created")]
    for metric in TABLE:
        family = families[metric.name.removesuffix("_total").removesuffix("_info")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not on the PATH")
def test_promtool_finds_no_fault() -> None:
    worker = Worker()
    for act, _ in MOVES.values():
        act(worker)
    text = generate_latest(worker.metrics.registry)
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30)
    assert (checked.returncode, checked.stderr) == (0, b"")


def test_the_number_of_series_is_bounded() -> None:
    worker, partitions = Worker(), range(64)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    every = {a + b + c: Decimal(1) for a in letters for b in letters for c in letters}
    worker.state = Sample(
        dict.fromkeys(STATUSES, 1),
        1,
        [PartitionSample(n, 1, 2, 3, 4, 5, 6, 7, 8) for n in partitions],
        64,
        clock_offset=0.5,
    )

    def busy() -> int:
        worker.count(
            charges=every,
            refunds={**every, '☎\n"': Decimal(1)},
            durations=list(range(10_000)),
            rejected=dict.fromkeys(REASONS, 1),
        )
        worker.metrics.committed([(age, 1) for age in range(0, 10**9, 10**5)])
        return sum(key.startswith("telefonie") for key in worker.series())

    # What the labels allow: closed ones all their values, currencies those in use and "other".
    allowed = {"currency": 178 + 1, "topic": 1, "partition": len(partitions)} | dict.fromkeys(
        m.BUILD.labels, 1
    )
    most = sum(
        math.prod(len(values) or allowed[label] for label, values in metric.labels.items())
        * (len(metric.buckets) + 3 if metric.kind == "histogram" else 1)
        for metric in TABLE
    )
    assert busy() == busy() == most < 1_200


@pytest.mark.parametrize("amount", [Decimal("1e400"), Decimal("1e300"), Decimal("1e28")])
def test_an_absurd_price_or_duration_does_not_stop_a_counter(amount: Decimal) -> None:
    worker = Worker()
    worker.count(charges={"USD": amount}, durations=[10**400], rings=[1e300])
    assert all(map(math.isfinite, worker.series().values()))
    moved = worker.moved(lambda w: w.count(charges={"USD": Decimal("0.01")}, durations=[1]))
    assert moved['telefonie_call_charges_total{currency="USD"}'] == pytest.approx(0.01, rel=0.01)
    assert moved["telefonie_call_duration_seconds_sum{}"] == 1


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 200_000_000), st.integers(1, 5)), max_size=20))
def test_a_histogram_is_that_of_the_client_library(ages: list[tuple[int, int]]) -> None:
    worker, registry = Worker(), CollectorRegistry()
    name = m.EVENT_AGE.name
    theirs = Histogram(name, "Of the library.", buckets=m.EVENT_AGE.buckets, registry=registry)
    worker.metrics.committed(ages)
    for age, records in ages:
        for _ in range(records):
            theirs.observe(age / 1000)
    ours = {key: value for key, value in worker.series().items() if key.startswith(name)}
    expected = series(generate_latest(registry).decode())
    assert ours == pytest.approx({key: expected[key] for key in ours})
    assert {key for key in expected if "_created" not in key} == set(ours)


@settings(max_examples=50)
@given(st.lists(st.one_of(st.floats(0, 2e12), st.sampled_from(m.DURATION.buckets)), max_size=20))
def test_many_observations_are_those_of_one_after_another(seconds: list[float]) -> None:
    together, apart = Worker(), Worker()
    together.count(durations=seconds)
    for each in seconds:
        apart.count(durations=[each])
    name = m.DURATION.name
    one, other = (
        {key: value for key, value in each.series().items() if key.startswith(name)}
        for each in (together, apart)
    )
    assert one == pytest.approx(other)


def test_a_bucket_includes_its_bound() -> None:
    worker = Worker()
    bound = m.RING.buckets[3]
    worker.count(rings=[bound])
    assert worker.series()[f'telefonie_call_ring_seconds_bucket{{le="{float(bound)}"}}'] == 1


class TestOffsetAge:
    """The age of the committed offset."""

    @staticmethod
    def age(worker: Worker) -> float:
        return worker.series()[
            'telefonie_committed_offset_age_seconds{partition="2",topic="telefonie.calls"}'
        ]

    def test_it_is_0_on_a_quiet_partition_and_does_not_jump_when_a_record_comes(self) -> None:
        worker = Worker()
        worker.now += 3600
        assert self.age(worker) == 0
        worker.now += 3600
        worker.partition(end=11)
        assert self.age(worker) == 0

    def test_it_grows_while_nothing_is_committed_and_ends_with_the_commit(self) -> None:
        worker = Worker()
        for second in range(60):
            worker.partition(end=11 + second)
            assert self.age(worker) == second
            worker.now += 1
        worker.metrics.progressed("telefonie.calls", 2, 70, 70)
        worker.partition(committed=70, end=71)
        assert self.age(worker) == 0

    @pytest.mark.parametrize("behind", [1, 7, 30])
    def test_a_steady_lag_is_told_within_a_factor_of_two(self, behind: int) -> None:
        worker = Worker()
        for second in range(100):
            worker.now = NOW + second
            worker.metrics.progressed("telefonie.calls", 2, max(0, second - behind) * 10, second * 10)
            if second > 2 * behind:
                worker.partition(committed=(second - behind) * 10, end=second * 10)
                assert behind <= self.age(worker) <= 2 * behind

    def test_a_partition_that_comes_back_starts_over(self) -> None:
        worker = Worker()
        worker.partition(end=20)
        partitions = worker.state.partitions
        assert self.age(worker) == 0
        worker.state = worker.state._replace(partitions=[])
        assert 'telefonie_table_calls{partition="2"}' not in worker.series()
        worker.now += 100
        worker.state = worker.state._replace(partitions=partitions)
        assert self.age(worker) == 0


def test_the_lag_of_both_topics_is_told_where_events_are_repartitioned() -> None:
    worker = Worker()
    worker.state = worker.state._replace(upstream=[Reached("telefonie.raw", 2, 5, 9, 1_000)])
    assert worker.series()['telefonie_consumer_lag_records{partition="2",topic="telefonie.raw"}'] == 4
    worker.now += 7
    ages = {key: value for key, value in worker.series().items() if key.startswith(m.OFFSET_AGE.name)}
    assert ages['telefonie_committed_offset_age_seconds{partition="2",topic="telefonie.raw"}'] == 7
    assert 'telefonie_consumer_lag_records{partition="2",topic="telefonie.calls"}' in worker.series()


def test_what_is_not_known_is_absent() -> None:
    names = {key.partition("{")[0] for key in series(generate_latest(Metrics(Settings()).registry).decode())}
    assert not names & {metric.name for metric in TABLE if metric.kind == "gauge"}
    worker = Worker()
    worker.partition(end=None)
    keys = worker.series()
    assert not [key for key in keys if key.startswith((m.LAG.name, m.OFFSET_AGE.name, m.STREAM_TIME.name))]
    assert keys['telefonie_calls_open{status="ringing"}'] == keys["telefonie_oldest_open_call_seconds{}"] == 0


def test_two_workers_in_one_process_do_not_share_counts() -> None:
    first, second = Worker(), Worker()
    first.metrics.rebalanced()
    assert second.series()["telefonie_rebalances_total{}"] == 0


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text() == reference(), "run: python -m streams.worker.metrics > docs/metrics.md"
