"""Closed calls come back as they were, whatever their URLs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.calls import closed as module
from streams.calls.closed import ClosedCalls
from streams.calls.state import CallState, decode_state, encode_state, is_open, read_closed_at

LONG = "https://example.com/a/path/that/is/longer/than/an/end"
urls = st.none() | st.sampled_from([LONG, LONG[:-1], f"{LONG[:9]}b{LONG[9:]}", "urn:x"]) | st.text()
calls = st.builds(
    CallState,
    closed_at=st.integers(0, 2**62),
    status=st.just("completed"),
    direction=st.just("inbound"),
    from_=st.just("+12125550100"),
    to=st.just("+442079460100"),
    last=st.integers(0, 2**62),
    offset=st.integers(0, 2**62),
    recording_url=urls,
    canceled=st.none() | st.integers(-(2**62), 2**62),
    url=urls,
    status_callback=urls,
)


def remember(closed: ClosedCalls, remembered: dict[bytes, CallState]) -> None:
    for call_id, state in remembered.items():
        closed.put(call_id, encode_state(state))


@given(st.dictionaries(st.binary(max_size=3), calls, max_size=8))
def test_a_call_comes_back_as_it_was(remembered: dict[bytes, CallState]) -> None:
    closed = ClosedCalls(1000)
    remember(closed, remembered)
    remember(closed, remembered)
    assert len(closed) == len(remembered)
    assert {call_id: closed.get(call_id) for call_id in remembered} == remembered
    for call_id in remembered:
        closed.forget(call_id, 0)
        closed.forget(call_id, 0)
        assert closed.get(call_id) is None
    assert len(closed) == 0


def test_calls_that_share_nothing_come_back_too() -> None:
    closed = ClosedCalls(1000)
    remembered = {
        number.to_bytes(3, "big"): CallState(
            1, "busy", "inbound", "+12", "+34", 2, 3, url=f"https://example.com/{number}"
        )
        for number in range(module._MOST_PAIRS + 10)
    }
    remember(closed, remembered)
    assert all(closed.get(call_id) == state for call_id, state in remembered.items())


def test_calls_with_the_same_urls_need_no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart takes over millions."""
    decoded = 0

    def decode(packed: bytes) -> CallState:
        nonlocal decoded
        decoded += 1
        return decode_state(packed)

    monkeypatch.setattr(module, "decode_state", decode)
    closed = ClosedCalls(1000)
    state = CallState(2**33, "busy", "inbound", "+12", "+34", 2, 3, url=LONG, status_callback=LONG)
    remember(closed, {number.to_bytes(3, "big"): state for number in range(100)})
    remember(closed, {b"none": replace(state, url=None, status_callback=None)})
    assert [closed.closed_at(call_id) for call_id in (b"\0\0\7", b"none", b"unknown")] == [2**33, 2**33, None]
    assert decoded == 1


def test_what_is_known_of_urls_is_bounded() -> None:
    closed = ClosedCalls(1000)
    for number in range(2 * module._MOST_PAIRS):
        state = CallState(
            1, "busy", "inbound", "+12", "+34", 2, 3, status_callback=f"{LONG}{number}", canceled=number
        )
        closed.put(b"one", encode_state(state))
        closed.put(b"two", encode_state(replace(state, status_callback="x")))
    assert len(closed._tails) == len(closed._numbers) + 1 <= module._MOST_PAIRS + 1
    assert len(closed._by_end) <= module._MOST_PAIRS


def test_long_urls_are_kept_with_their_call() -> None:
    """4,096 pairs of 16 kB would be 64 MB for each partition."""
    closed = ClosedCalls(1000)
    state = CallState(1, "busy", "inbound", "+12", "+34", 2, 3, url="urn:x:" + "y" * 2_000)
    closed.put(b"one", encode_state(state))
    assert closed.get(b"one") == state
    assert len(closed._tails) == 1


@given(calls)
def test_whether_it_is_open_and_when_it_closed_is_seen_without_decoding(state: CallState) -> None:
    assert not is_open(encode_state(state))
    assert read_closed_at(encode_state(state)) == state.closed_at
    state.closed_at = None
    assert is_open(encode_state(state))
    assert read_closed_at(encode_state(state)) is None


def test_a_call_that_closed_again_is_forgotten_after_its_last_closing() -> None:
    """Its changelog may still hold the row from before it was forgotten and began again."""
    closed = ClosedCalls(10)
    state = CallState(100, "busy", "inbound", "+12", "+34", 2, 3)
    closed.restore([(b"call", encode_state(state))])
    closed.restore([(b"call", encode_state(replace(state, closed_at=500)))])
    assert list(closed.past(300, 100)) == []
    assert list(closed.past(600, 100)) == [(b"call", 500)]


@given(st.dictionaries(st.binary(max_size=3), calls, max_size=8))
def test_what_is_restored_lies_in_memory_as_what_has_just_closed(remembered: dict[bytes, CallState]) -> None:
    closed, restored = ClosedCalls(1000), ClosedCalls(1000)
    remember(closed, remembered)
    restored.restore((call_id, encode_state(state)) for call_id, state in remembered.items())
    assert restored._calls == closed._calls


def test_a_span_that_is_past_in_part_loses_no_call() -> None:
    closed = ClosedCalls(10)
    for moment in (101, 108):
        closed.retain(b"%d" % moment, moment)
        closed.put(b"%d" % moment, encode_state(CallState(moment, "busy", "inbound", "+12", "+34", 2, 3)))
    found = [call_id for horizon in (105, 200) for call_id, _ in closed.past(horizon, 100)]
    assert sorted(found) == [b"101", b"108"]
