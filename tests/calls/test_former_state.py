"""State that release 0.1 wrote is taken over, and what this release writes can be read by it.

`tests/data/state-0.1.msgpack` holds the changelog rows, the ledger and the outputs of a partition, written by release
0.1: an open call, and seven that closed in the window from 100 s to 110 s or the one after it, KPI_WINDOW 10 s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_partition import Shelf, event

from streams.calls.ledger import READABLE, STATE_VERSION
from streams.calls.partition import CallsPartition, Rules

FAR = 1 << 60
RULES = Rules(call_timeout=60_000, call_retention=600_000, kpi_window=10_000)
WRITTEN: dict[str, Any] = msgspec.msgpack.decode(
    (Path(__file__).parents[1] / "data/state-0.1.msgpack").read_bytes()
)
#: Of `CallState` in release 0.1; it reads rows by position.
FIELDS = 28


def taken_over(rules: Rules = RULES, store: Shelf | None = None) -> CallsPartition:
    made = CallsPartition(rules, 0, store)
    stored = made.restore([(key, value) for key, value in WRITTEN["rows"]])
    if store is not None:
        store.write(list(stored), len(WRITTEN["rows"]))
    list(made.ready(WRITTEN["ledger"]))
    return made


def window(made: CallsPartition) -> dict[str, Any]:
    """The last that was published of the window from 100 s on."""
    kpis = {key: value for key, value, *_ in made.checkpoint().outputs["kpis"]}
    found: dict[str, Any] = msgspec.json.decode(kpis[b"1970-01-01T00:01:40.000Z/inbound/GB/0"])
    return found


@pytest.mark.parametrize("has_store", [False, True])
def test_it_is_all_there(has_store: bool) -> None:
    made = taken_over(store=Shelf() if has_store else None)
    assert (list(made.open), len(made.closed), len(made.windows)) == ([b"open"], 7, 2)
    assert (made.ledger.read, made.ledger.opened, sum(made.ledger.closed.values())) == (8, 8, 7)
    assert made.ledger.stream_time == 115_000


@pytest.mark.parametrize(
    "rules", [RULES, Rules(call_timeout=60_000, call_retention=600_000, kpi_window=25_000)]
)
def test_an_amendment_takes_out_what_was_counted_and_counts_by_the_present_rules(rules: Rules) -> None:
    """Release 0.1 charged every currency and any number of digits, and counted nothing as uncharged."""
    made = taken_over(rules)
    changes = {
        "priced": {"price": "-3", "price_unit": "USD"},
        "odd-currency": {"price": "-2", "price_unit": "XYZ", "recording_url": "https://example.com/r"},
        "long-price": {"price": "-0.5", "price_unit": "USD"},
        "no-currency": {"price": "-4"},
        "no-price": {"price": "-5", "price_unit": "EUR"},
    }
    for offset, (name, change) in enumerate(changes.items()):
        status = "busy" if name == "no-price" else "completed"
        made.process([(20 + offset, 115_000, None, event(name, status, **change), [])], FAR)
    assert not made.failures
    assert [msgspec.json.decode(value)["revision"] for _, value, *_ in made.completed] == [2] * 5
    found = window(made)
    assert (found["attempts"], found["completed"], found["busy"]) == (6, 5, 1)
    # `odd-currency` counts as it did: what its revision says of money has not changed.
    assert found["charges"] == {"EUR": "5", "USD": "3.5"}
    assert found["uncharged"] == 2
    for offset, name in enumerate(("odd-currency", "no-currency")):
        made.process(
            [(40 + offset, 115_000, None, event(name, "completed", price="-1", price_unit="USD"), [])], FAR
        )
    found = window(made)
    assert (found["charges"], found["uncharged"]) == ({"EUR": "5", "USD": "5.5"}, 0)


def test_what_is_open_times_out_as_it_would_have() -> None:
    made = taken_over()
    made.process([(20, 160_001, None, event("x", "queued"), [])], FAR)
    [(key, _, timestamp, _)] = made.completed
    assert (key, timestamp) == (b"open", 160_000)


def test_the_release_before_reads_what_this_one_writes() -> None:
    """It reads rows of a call by position and the others by name, and passes over what it does not know."""
    made = taken_over()
    made.process([(20, 116_000, None, event("new", "completed", price="-1", price_unit="USD"), [])], FAR)
    checkpoint = made.checkpoint()
    rows = dict(checkpoint.rows)
    assert len(msgspec.msgpack.decode(rows[b"new"])) == FIELDS
    ledger = msgspec.msgpack.decode(checkpoint.partition_state)
    assert msgspec.msgpack.decode(WRITTEN["ledger"]).keys() <= ledger.keys()
    assert ledger["version"] == STATE_VERSION == 1
    assert {1} == READABLE
    [kpi] = [value for key, value in checkpoint.rows if key.startswith(b"\xffwindow ") and value]
    assert all(
        isinstance(msgspec.msgpack.decode(kpi)[name], int) for name in ("attempts", "talk_ms", "ring_ms")
    )
