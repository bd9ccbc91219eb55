"""The model itself: the explicit statements of the contract, and that the generated logs cover all of it."""

import json
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from support.calls import generate, logs, smallest
from support.model import VALIDATOR, Idle, Partition, Record, Settings, Step

SHORT = Settings(call_timeout=10_000, call_retention=60_000, kpi_window=1_000)
CALL = {
    "id": "6b7f0a52-9c61-4e5b-8a37-0d1f9c2b4e11",
    "direction": "outbound",
    "from": "+12125550123",
    "to": "+442079460958",
}
TO_REACH = (
    "duplicate, out-of-order, conflicting-status, identity-changed, no-history, missing-answer, timed-out, "
    "duration-mismatch, end-before-start, price-invalid, price-without-currency, currency-unknown, "
    "id-not-uuid, number-unknown, too-early, unsupported-content-type, empty, malformed, schema, too-late, "
    "key mismatch, by status, by timeout, revision 4, ring_seconds, talk_seconds, from_country, forgotten, "
    "open, charges"
)
KEY = CALL["id"].encode()


def event(offset: int, timestamp: int | None, status: str, clock: int | None = None, **more: Any) -> Record:
    return Record(offset, timestamp, KEY, json.dumps(CALL | {"status": status} | more).encode(), clock=clock)


def at(moment: int) -> Partition:
    """A partition whose stream time has come so far, with nothing in it."""
    partition = Partition(SHORT)
    partition.stream_time = moment
    return partition


def values(partition: Partition) -> list[dict[str, Any]]:
    return [each.value for each in partition.completed]


def test_an_answered_call() -> None:
    partition = Partition(SHORT).run(
        [
            event(0, 1_000, "queued"),
            event(1, 2_000, "ringing"),
            event(2, 5_500, "in-progress"),
            event(3, 9_000, "completed", start_time="1970-01-01T01:00:05.25+01:00", duration=3.0),
            event(4, 9_500, "completed", end_time="1970-01-01T00:00:08.5Z", price="-0.010", price_unit="USD"),
            Idle(10_000),
        ]
    )
    first, second = partition.completed
    assert (first.key, first.timestamp, second.timestamp) == (CALL["id"], 9_000, 9_500)
    assert first.value == CALL | {
        "status": "completed",
        "duration": 3,
        "start_time": "1970-01-01T00:00:05.25Z",
        "revision": 1,
        "closed_by": "status",
        "closed_at": "1970-01-01T00:00:09.000Z",
        "timeline": {
            "queued": "1970-01-01T00:00:01.000Z",
            "ringing": "1970-01-01T00:00:02.000Z",
            "in-progress": "1970-01-01T00:00:05.500Z",
            "completed": "1970-01-01T00:00:09.000Z",
        },
        "from_country": "US",
        "to_country": "GB",
        "ring_seconds": 3.25,
        "answered": True,
        "events": 4,
        "source": {"topic": "telefonie.calls", "partition": 0, "offset": 3},
    }
    assert second.value["talk_seconds"] == 3.25
    assert second.value["revision"] == 2
    assert second.value["closed_at"] == "1970-01-01T00:00:09.000Z"
    assert partition.kpis == {
        "1970-01-01T00:00:09.000Z/outbound/GB/0": {
            "window_start": "1970-01-01T00:00:09.000Z",
            "window_end": "1970-01-01T00:00:10.000Z",
            "direction": "outbound",
            "country": "GB",
            "partition": 0,
            "attempts": 1,
            "completed": 1,
            "busy": 0,
            "no_answer": 0,
            "failed": 0,
            "canceled": 0,
            "timed_out": 0,
            "answered": 1,
            "human": 0,
            "machine": 0,
            "talk_seconds": 3.25,
            "ring_seconds": 3.25,
            "charges": {"USD": "0.01"},
            "uncharged": 0,
        }
    }


def test_a_timeout_falls_due_only_when_it_is_passed_and_a_late_end_amends_it() -> None:
    partition = Partition(SHORT).run([event(0, 1_000, "ringing"), Idle(11_000)])
    assert partition.completed == []
    partition.run([event(1, 11_001, "busy"), event(2, 11_002, "busy")])
    timed_out, ended = partition.completed
    assert timed_out.timestamp == 11_000
    assert timed_out.value["closed_by"] == "timeout"
    assert timed_out.value["status"] == "ringing"
    assert timed_out.value["closed_at"] == "1970-01-01T00:00:11.000Z"
    assert ended.value["closed_by"] == "status"
    assert ended.value["closed_at"] == "1970-01-01T00:00:11.000Z"
    assert ended.value["anomalies"] == ["timed-out"]
    assert ended.value["ring_seconds"] == 10.001
    assert partition.figures["duplicate"] == 1


def test_a_call_may_close_and_be_forgotten_at_once_and_then_start_over() -> None:
    partition = Partition(SHORT).run([event(0, 1_000, "ringing"), Idle(71_001), event(1, 71_000, "busy")])
    assert [value["revision"] for value in values(partition)] == [1, 1]
    assert values(partition)[1]["anomalies"] == ["no-history"]
    assert (partition.figures["opened"], partition.figures["closed"]) == (2, 2)


def test_the_call_that_is_already_due_when_its_event_is_applied_closes_with_the_next_record() -> None:
    partition = at(50_000).run([event(0, 1_000, "ringing")])
    assert partition.completed == []
    assert list(partition.open) == [CALL["id"]]
    partition.run([Record(1, None, None, b"{")])
    assert [each.timestamp for each in partition.completed] == [11_000]


def test_a_stale_event_fills_what_is_absent_and_moves_nothing() -> None:
    partition = Partition(SHORT).run(
        [
            event(0, 5_000, "busy", price="1", url="a:b"),
            event(1, 4_000, "ringing", price="2", price_unit="USD", **{"from": "+14165550199"}),
        ]
    )
    last = values(partition)[-1]
    assert (last["status"], last["price"], last["price_unit"], last["url"]) == ("busy", "1", "USD", "a:b")
    assert last["from"] == CALL["from"]
    assert last["ring_seconds"] == 1
    assert last["anomalies"] == ["identity-changed", "no-history", "out-of-order"]


def test_the_newer_terminal_status_stands() -> None:
    partition = Partition(SHORT).run([event(0, 5_000, "busy"), event(1, 4_000, "failed")])
    last = values(partition)[-1]
    assert last["status"] == "failed"
    assert last["anomalies"] == ["conflicting-status", "no-history"]


def test_the_end_of_a_call_is_not_older_than_what_is_remembered() -> None:
    steps: list[Step] = [event(0, 95_000, "ringing"), Idle(100_000), event(1, 1_000, "busy")]
    assert values(Partition(SHORT).run(steps))[0]["closed_at"] == "1970-01-01T00:00:40.000Z"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (event(0, 400_001, "queued", clock=100_000), "too-early"),
        (Record(0, 1, None, None, (("content-type", b"text/plain"),)), "unsupported-content-type"),
        (Record(0, 1, None, None), "empty"),
        (Record(0, 1, None, b"\0\0\0\0\1"), "empty"),
        (Record(0, 1, None, b'{"id": NaN}'), "malformed"),
        (Record(0, 1, None, b'{"id": "\\ud800"}'), "malformed"),
        (Record(0, 1, None, b"{}"), "schema"),
        (event(0, 39_999, "queued", clock=100_000), "too-late"),
    ],
)
def test_reasons(record: Record, reason: str) -> None:
    partition = at(100_000).run([record])
    assert partition.rejected == {reason: 1}
    assert partition.dead[0].headers["dead-reason"] == reason
    assert partition.stream_time == 100_000


@given(logs())
def test_the_books_balance(log: tuple[Settings, list[Step]]) -> None:
    settings, steps = log
    partition = Partition(settings).run(steps)
    figures = partition.figures
    assert figures["read"] == sum(isinstance(step, Record) for step in steps)
    assert figures["read"] == figures["applied"] + partition.rejected.total()
    assert figures["opened"] == figures["closed"] + len(partition.open)
    assert len(partition.dead) == partition.rejected.total()
    assert sum(each.value["revision"] == 1 for each in partition.completed) == figures["closed"]
    assert all(VALIDATOR.is_valid(each.value) for each in partition.completed)
    for kpi in partition.kpis.values():
        ended = ("completed", "busy", "no_answer", "failed", "canceled", "timed_out")
        assert kpi["attempts"] == sum(kpi[name] for name in ended) > 0
    partition.advance(10**15)
    assert sum(kpi["attempts"] for kpi in partition.kpis.values()) == figures["opened"]
    assert not partition.calls
    assert not partition.windows


def test_the_same_seed_writes_the_same_log() -> None:
    assert generate(Random(7), 40) == generate(Random(7), 40)
    assert generate(Random(7), 40) != generate(Random(8), 40)


def test_a_failing_log_is_cut_to_what_makes_it_fail() -> None:
    def times_out_and_is_amended(steps: list[Step]) -> bool:
        said = values(Partition(settings).run(steps))
        return any(value["closed_by"] == "timeout" and value["revision"] == 2 for value in said)

    for seed in range(100):
        settings, steps = generate(Random(seed), 60)
        if times_out_and_is_amended(steps):
            assert len(smallest(steps, times_out_and_is_amended)) == 2
            return
    pytest.fail("no log in a hundred has a call that timed out and was amended")


def test_the_logs_reach_everything_the_contract_speaks_of() -> None:
    reached: Counter[str] = Counter()
    for seed in range(60):
        settings, steps = generate(Random(seed), 60)
        partition = Partition(settings).run(steps)
        reached += partition.figures + partition.rejected
        for value in values(partition):
            reached.update(value.get("anomalies", []))
            reached.update(["by " + value["closed_by"], f"revision {min(value['revision'], 4)}"])
            reached.update(name for name in ("ring_seconds", "talk_seconds", "from_country") if name in value)
        reached["forgotten"] += partition.figures["closed"] - len(partition.calls) + len(partition.open)
        reached["open"] += len(partition.open)
        reached["charges"] += sum(bool(kpi["charges"]) for kpi in partition.kpis.values())
    assert {name: reached[name] for name in TO_REACH.split(", ") if reached[name] < 10} == {}
