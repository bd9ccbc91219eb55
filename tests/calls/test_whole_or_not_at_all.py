"""Whatever raises, and wherever: an event or a timeout is applied as a whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import msgspec
import pytest
from test_partition import event

from streams.calls.partition import CallsPartition, Checkpoint, Rules
from streams.calls.state import encode_state

RULES = Rules(call_timeout=10_000, call_retention=60_000, kpi_window=1_000)
FAR = 1 << 60
#: Where a raise stops the worker, before anything is committed: what takes in that which has been computed.
TAKES_IN = {
    "_take",
    "_publish",
    "add",
    "amend",
    "move",
    "extend",
    "retain",
    "close",
    "closed",
    "amended",
    "width",
    "_count",
    "_counted",
    "_charge",
    "names",
    "_close_due",
    "pop",
    "first",
    "take",
    "_bring_near",
    "_due",
    "process",
    "settle",
    "_reject",
    "letter",
    "source",
    "dead_headers",
    "_fail",
    "__init__",
    "<dictcomp>",
    "forget",
}
RECORDS: dict[str, bytes] = {
    "begins": event("new", "queued", url="https://example.com/a", price="1"),
    "begins at its end": event("new", "busy", price="-1", price_unit="USD"),
    "goes on": event(
        "open", "in-progress", start_time="2026-01-01T01:00:00+01:00", url="https://example.com/b"
    ),
    "is stale": event(
        "open", "queued", end_time="2026-01-01T01:00:00+01:00", status_callback="https://x.example"
    ),
    "closes": event("open", "completed", end_time="2026-01-01T01:00:00+01:00", price="-2", price_unit="EUR"),
    "amends": event(
        "over", "completed", price="-3", price_unit="USD", start_time="2026-01-01T01:00:00+01:00"
    ),
    "says nothing new": event("over", "busy", price="-1", price_unit="USD"),
}


def partition() -> CallsPartition:
    """With an open call, and one that has closed."""
    made = CallsPartition(RULES, 0)
    known = (event("open", "ringing"), event("over", "busy", price="-1", price_unit="USD"))
    made.process([(n, 5_000, None, value, []) for n, value in enumerate(known)], FAR)
    made.checkpoint()
    return made


def raising(number: int, act: Callable[[], object]) -> tuple[str | None, bool]:
    """Act, but the call of that number, of any function of ours, raises instead: its name, and whether it came out."""
    count, name = 0, None

    def watch(frame: FrameType, what: str, _: Any) -> None:
        nonlocal count, name
        if what == "call" and "/streams/" in frame.f_code.co_filename.replace("codecs", "streams/codecs"):
            if count == number:
                name = frame.f_code.co_name
                raise ZeroDivisionError("injected")
            count += 1

    sys.setprofile(watch)
    try:
        act()
    except ZeroDivisionError:
        return name, True
    finally:
        sys.setprofile(None)
    return name, False


def content(made: CallsPartition) -> tuple[Any, ...]:
    """All that a partition knows, and what it is about to publish; records that it has read and rejected aside."""
    ledger = msgspec.to_builtins(made.ledger) | {"read": 0, "rejected": 0, "stream_time": 0, "settled": 0}
    return (
        {key: encode_state(state) for key, state in made.open.items()},
        {key: state and encode_state(state) for key, state in made.changed.items()},
        {key: repr(window) for key, window in made.windows._windows.items() if window.attempts},
        ledger,
        list(made.completed),
        made.tally.events,
        made.tally.completed,
        made.tally.unchanged,
    )


def windows_of(checkpoint: Checkpoint) -> list[Any]:
    return [value for _, value, *_ in checkpoint.outputs["kpis"]]


@pytest.mark.parametrize("what", RECORDS)
def test_a_record_on_which_anything_raises_leaves_no_trace_but_its_letter(what: str) -> None:
    set_aside = number = 0
    while True:
        made = partition()
        before = content(made)
        record = (7, 5_000, None, RECORDS[what], [])
        name, came_out = raising(number, lambda made=made, record=record: made.process([record], FAR))
        number += 1
        if name is None:
            break
        if came_out:
            assert name in TAKES_IN, "the worker may stop for nothing else"
            continue
        if made.dead:  # else what raised is not asked in earnest
            assert content(made) == before, name
            assert (made.ledger.read, sum(made.ledger.rejected.values())) == (3, 1)
            assert len(made.failures) == 1
            set_aside += 1
            assert made.process([record], FAR) == 1, "and it may come again"
            assert made.ledger.applied == 3
    assert set_aside >= 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # raised in a generator's end
def test_a_timeout_on_which_anything_raises_leaves_its_call_open() -> None:
    set_aside = number = 0
    while True:
        made = partition()
        assert made.advance(20_000)
        before = content(made)
        name, came_out = raising(number, made.settle)
        number += 1
        if name is None:
            break
        if came_out:
            assert name in TAKES_IN
            continue
        if made.stuck:
            [(call_id, _)] = made.stuck
            assert call_id == "open"
            assert content(made) == before
            assert made.tally.timeouts_failed == 1
            assert not made.settle(), "it holds up nothing"
            set_aside += 1
            checkpoint = made.checkpoint()
            assert checkpoint.stuck
            again = CallsPartition(RULES, 0)
            again.restore([*checkpoint.rows, (b"open", encode_state(made.open[b"open"]))])
            list(again.ready(checkpoint.partition_state))
            again.settle()
            assert [json[0] for json in again.completed] == [b"open"], "it is tried again"
    assert set_aside >= 3


def test_one_call_that_is_stuck_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    made = CallsPartition(RULES, 0)
    made.process([(n, 5_000 + n, None, event(f"c{n}", "ringing"), []) for n in range(5)], FAR)
    real = made._revision
    monkeypatch.setattr(made, "_revision", lambda key, *rest: 1 // 0 if key == b"c2" else real(key, *rest))
    made.advance(50_000)
    made.settle()
    assert [key for key, *_ in made.completed] == [b"c0", b"c1", b"c3", b"c4"]
    assert [call_id for call_id, _ in made.stuck] == ["c2"]
    assert list(made.open) == [b"c2"]
    monkeypatch.undo()
    made.process([(9, 50_000, None, event("c2", "busy"), [])], FAR)
    assert not made.open, "its end may still come"
