"""Settings and what is known of numbers change between any two records; what is published still adds up."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from random import Random
from typing import Any

import msgspec
import pytest
from support import model
from support.calls import generate
from test_partition import Outcome, Shelf, event, rules_of

from streams.calls import numbers, revision
from streams.calls.closed import WINDOW_ROW
from streams.calls.partition import CallsPartition, Rules
from streams.calls.windows import WindowKey, Windows

FAR = 1 << 60


def instances(published: list[tuple]) -> list[list[dict[str, Any]]]:
    """The revisions of each call, by life: an id may begin again after it was forgotten."""
    lives: dict[bytes, list[list[dict[str, Any]]]] = defaultdict(list)
    for key, value, *_ in published:
        said = msgspec.json.decode(value)
        if said["revision"] == 1:
            lives[key].append([])
        lives[key][-1].append(said)
        assert [each["revision"] for each in lives[key][-1]] == list(range(1, len(lives[key][-1]) + 1))
    return [life for each in lives.values() for life in each]


def recount(outcome: Outcome, lives: list[list[dict[str, Any]]]) -> dict[WindowKey, dict[str, Any]]:
    """Every window by the last revisions of the calls that were counted in it, in the country of their first."""
    calls: dict[WindowKey, list[model.Call]] = defaultdict(list)
    windows = outcome.partition.windows
    for life in lives:
        closed_at = int(model.rfc3339.seconds(life[0]["closed_at"]) * 1000)
        key = windows.key(closed_at, life[0]["direction"], life[0].get("to_country", "ZZ"))
        call = model.Call(life[0]["id"], life[0]["status"], {})
        call.published = life[-1]
        calls[key].append(call)
    chosen = model.Partition(model.Settings(partition=outcome.number))
    return {
        key: chosen.kpi(model.Window(key[0], key[0] + windows.width(key[0]), key[1], key[2], counted))
        for key, counted in calls.items()
    }


def overlapping(kpis: dict[bytes, bytes]) -> list[Any]:
    spans = defaultdict(set)
    for value in kpis.values():
        said = msgspec.json.decode(value)
        spans[said["direction"], said["country"]].add((said["window_start"], said["window_end"]))
    return [
        (one, other)
        for each in spans.values()
        for one in each
        for other in each
        if one < other and other[0] < one[1]
    ]


@pytest.mark.parametrize("seed", range(120))
def test_whatever_changes_between_two_records_it_adds_up(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    chosen, steps = generate(random, 70)
    outcome = Outcome(chosen, random.choice([None, Shelf()]))
    real = numbers.country
    for step in steps:
        outcome.step(step)
        if random.random() < 0.3:
            outcome.checkpoint()
        if random.random() < 0.15:
            outcome.rules = replace(
                rules_of(chosen),
                kpi_window=random.choice([1_000, 3_000, 7_000, 60_000, chosen.kpi_window]),
                call_timeout=random.choice([1_000, 5_000, 60_000, chosen.call_timeout]),
                call_retention=random.choice([5_000, 10_000, 120_000, chosen.call_retention]),
            )
            shift = random.choice([None, "US", "FR"])
            monkeypatch.setattr(revision, "country", lambda number, shift=shift: shift or real(number))
            outcome.restart(random)
    outcome.checkpoint()
    lives = instances(outcome.completed)
    ledger = outcome.partition.ledger
    assert ledger.read == ledger.applied + sum(ledger.rejected.values())
    assert ledger.opened == sum(ledger.closed.values()) + len(outcome.partition.open)
    assert len(lives) == sum(ledger.closed.values())
    assert not overlapping(outcome.kpis)
    forgotten = {
        msgspec.msgpack.decode(key[len(WINDOW_ROW) :], type=WindowKey)
        for key, value in outcome.changelog
        if key.startswith(WINDOW_ROW) and value is None
    }
    windows, expected = outcome.partition.windows, recount(outcome, lives)
    for key, window in windows._windows.items():
        if key not in forgotten:  # a longer retention may bring its time back, but not what was in it
            found = msgspec.json.decode(windows._record(key, window)[1])
            assert found == expected[key]


def restarted(partition: CallsPartition, rules: Rules, rows: list[Any] | None = None) -> CallsPartition:
    checkpoint = partition.checkpoint()
    made = CallsPartition(rules, 0)
    made.restore([*(rows or ()), *checkpoint.rows])
    list(made.ready(checkpoint.partition_state))
    return made


def widths(*changes: int, windows: tuple[int, ...] = ()) -> list[tuple[int, int]]:
    """Of a partition with windows of the first width, after starts with each of the others."""
    rows = {(start, "inbound", "GB"): msgspec.msgpack.encode({"attempts": 1}) for start in windows}
    found = [(0, changes[0])]
    for width in changes:
        made = Windows(width, 1, 0)
        made.restore(rows, found, 0, 0)  # type: ignore[arg-type]
        found = made.widths
    return found


def test_a_new_width_begins_where_no_window_of_the_old_one_is_cut_short() -> None:
    assert widths(60, 300) == [(0, 300)], "nothing was counted"
    assert widths(60, 300, windows=(0, 60)) == [(0, 60), (300, 300)]
    assert widths(60, 300, windows=(240,)) == [(0, 60), (300, 300)], "its end is a boundary"
    assert widths(300, 60, windows=(300,)) == [(0, 300), (600, 60)]
    assert widths(60, 90, windows=(0,)) == [(0, 60), (180, 90)], "at 90 a window of 60 would be cut short"
    assert widths(60, 300, 60, windows=(0,)) == [(0, 60)], "nothing was counted by the other"
    made = Windows(90, 1, 0)
    made.restore({}, [(0, 60), (300, 300)], 600, 0)
    assert made.widths == [(0, 60), (300, 300), (900, 90)], "windows that are forgotten were published"


def test_windows_of_the_release_before_are_taken_for_what_they_are() -> None:
    made = Windows(60, 1, 0)
    made.restore({(120, "inbound", "GB"): msgspec.msgpack.encode({})}, [], 0, 0)
    assert made.widths == [(0, 60)]
    made = Windows(60, 1, 0)
    made.restore({(start, "inbound", "GB"): msgspec.msgpack.encode({}) for start in (50, 75)}, [], 0, 0)
    assert made.widths == [(0, 25), (300, 60)], "they are not of 60"


def test_a_late_price_corrects_the_window_in_which_its_call_was_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With another KPI_WINDOW and another country: it became a dead letter, and the next one published it again."""
    first = CallsPartition(Rules(kpi_window=60_000), 0)
    first.process([(0, 30_000, None, event("a", "completed"), [])], FAR)
    monkeypatch.setattr(revision, "country", lambda _: "FR")
    second = restarted(first, Rules(kpi_window=7_000))
    priced = event("a", "completed", price="-1", price_unit="USD")
    second.process([(1, 70_000, None, priced, []), (2, 70_001, None, priced, [])], FAR)
    checkpoint = second.checkpoint()
    assert not checkpoint.outputs["dead"]
    assert [msgspec.json.decode(value)["revision"] for _, value, *_ in checkpoint.outputs["completed"]] == [2]
    [(key, value, *_)] = checkpoint.outputs["kpis"]
    assert key == b"1970-01-01T00:00:00.000Z/inbound/GB/0"
    found = msgspec.json.decode(value)
    assert (found["attempts"], found["completed"], found["charges"]) == (1, 1, {"USD": "1"})


def test_a_longer_retention_brings_nothing_back() -> None:
    first = CallsPartition(Rules(call_retention=10_000), 0)
    first.process(
        [(0, 5_000, None, event("a", "busy"), []), (1, 15_001, None, event("b", "queued"), [])], FAR
    )
    second = restarted(first, Rules(call_retention=100_000))
    second.process([(2, 15_001, None, event("a", "busy"), [])], FAR)
    said = msgspec.json.decode(second.checkpoint().outputs["completed"][0][1])
    assert (said["revision"], said["anomalies"]) == (1, ["id-not-uuid", "no-history"])


@pytest.mark.parametrize("timeout", [1_000, 600_000])
def test_a_changed_timeout_holds_for_calls_that_are_open(timeout: int) -> None:
    first = CallsPartition(Rules(call_timeout=60_000), 0)
    first.process([(0, 5_000, None, event("a", "ringing"), [])], FAR)
    second = restarted(first, Rules(call_timeout=timeout))
    second.process([(1, 5_000 + timeout, None, event("b", "queued"), [])], FAR)
    assert not second.completed, "it falls due when stream time passes the moment"
    second.process([(2, 5_001 + timeout, None, event("b", "queued"), [])], FAR)
    [(key, _, timestamp, _)] = second.completed
    assert (key, timestamp) == (b"a", 5_000 + timeout)
