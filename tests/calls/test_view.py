"""What is said about a call on request."""

import json

from streams.calls.partition import CallsPartition, Rules
from streams.calls.view import OpenCalls, OpenSelection, describe

WALL = 1 << 60
START = 1_764_041_713_000
HOUR = 3_600_000
CALL = {"id": "one", "direction": "outbound", "from": "+12125550123", "to": "+4915123456789"}


def partition(*events: tuple[int, dict[str, object]]) -> CallsPartition:
    """A partition to which events were applied, seconds after the start."""
    made = CallsPartition(Rules(), 3)
    records = [
        (n, START + at * 1000, None, json.dumps(CALL | event).encode(), ())
        for n, (at, event) in enumerate(events)
    ]
    made.process(records, WALL)
    return made


def test_an_open_call_says_since_when_and_until_when() -> None:
    calls = partition((0, {"status": "queued"}), (5, {"status": "ringing"}))
    assert describe(calls, "one") == {
        **CALL,
        "status": "ringing",
        "open": True,
        "opened_at": "2025-11-25T03:35:13.000Z",
        "last_event_at": "2025-11-25T03:35:18.000Z",
        "due_at": "2025-11-25T09:35:18.000Z",
        "timeline": {"queued": "2025-11-25T03:35:13.000Z", "ringing": "2025-11-25T03:35:18.000Z"},
        "answered": False,
        "events": 2,
        "source": {"topic": "telefonie.calls", "partition": 3, "offset": 1},
        "from_country": "US",
        "to_country": "DE",
        "anomalies": ["id-not-uuid"],
    }


def test_a_closed_call_is_what_was_published_until_it_is_forgotten() -> None:
    calls = partition((0, {"status": "queued"}), (5, {"status": "busy"}))
    before = describe(calls, "one")
    [(_, value, *_)] = calls.checkpoint().outputs["completed"]
    after = describe(calls, "one")
    assert before == after
    assert after == json.loads(value or b"") | {
        "open": False,
        "opened_at": "2025-11-25T03:35:13.000Z",
        "last_event_at": "2025-11-25T03:35:18.000Z",
        "due_at": "2025-11-26T03:35:18.000Z",
    }
    calls.process([(2, START + 5000 + 24 * HOUR + 1, None, b"", ())], WALL)
    assert describe(calls, "one") is None


def test_unknown_ids_are_unknown() -> None:
    calls = partition((0, {"status": "queued"}))
    assert describe(calls, "two") is None
    assert describe(calls, "\ud800") is None


def test_open_calls_are_chosen_by_age_status_and_country() -> None:
    calls = partition(
        (0, {"id": "old", "status": "queued"}),
        (9, {"id": "new", "status": "ringing"}),
        (10, {"id": "french", "status": "ringing", "to": "+33612345678"}),
        (11, {"id": "over", "status": "busy"}),
    )

    def ids(**wanted: object) -> list[str]:
        found = OpenCalls.of(calls).chosen(OpenSelection(**wanted), 9, START)  # type: ignore[arg-type]
        assert len(found.oldest) == sum(found.ages)
        return [key.decode() for _, key in found.oldest]

    assert ids() == ["old", "new", "french"]
    assert ids(before=START + 9000) == ["old", "new"]
    assert ids(statuses=frozenset({"ringing"})) == ["new", "french"]
    assert ids(countries=frozenset({"FR", "ZZ"})) == ["french"]
    assert ids(countries=frozenset({"DE"}), statuses=frozenset({"queued"})) == ["old"]


def test_the_oldest_open_calls_are_found_wherever_they_lie() -> None:
    calls = partition(
        *((n, {"id": f"call-{n}", "status": "ringing"}) for n in range(1, 500)),
        (-18_000, {"id": "late", "status": "queued"}),
    )
    found = OpenCalls.of(calls)
    assert found.oldest(2) == [(START - 18_000_000, b"late"), (START + 1_000, b"call-1")]
    assert found.by_status() == {"ringing": 499, "queued": 1}
    ringing = OpenSelection(statuses=frozenset({"ringing"}))
    assert found.chosen(ringing, 1, START + 361_000).oldest == [(START + 1_000, b"call-1")]
    assert found.chosen(ringing, 1, START + 361_000).ages == [199, 240, 60, 0, 0, 0, 0]
    assert found.chosen(OpenSelection(), 1, START + 361_000).ages == [199, 240, 60, 0, 1, 0, 0]


def test_open_calls_behind_another_one_are_listed_and_all_are_counted() -> None:
    calls = partition(*((n // 2, {"id": f"call-{n}", "status": "ringing"}) for n in range(5)))
    found = OpenCalls.of(calls).chosen(OpenSelection(after=(START, b"call-0")), 2, START)
    assert found.oldest == [(START, b"call-1"), (START + 1000, b"call-2")]
    assert sum(found.ages) == 5


def test_a_closed_call_is_shown_until_stream_time_passes_its_retention() -> None:
    calls = partition((0, {"status": "busy"}))
    end = START + 24 * HOUR
    assert calls.advance(end)
    assert describe(calls, "one") is not None
    assert calls.advance(end + 1)
    assert describe(calls, "one") is None
