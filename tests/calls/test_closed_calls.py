"""Closed calls come back as they were, whatever their URLs."""

from hypothesis import given
from hypothesis import strategies as st

from streams.calls import closed as module
from streams.calls.closed import ClosedCalls
from streams.calls.state import CallState, encode_state, is_open

urls = st.none() | st.sampled_from(["https://example.com/a", "https://example.com/b", "urn:x"]) | st.text()
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
        closed.put(call_id, state, encode_state(state))


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


@given(calls)
def test_whether_it_is_open_is_seen_without_decoding(state: CallState) -> None:
    assert not is_open(encode_state(state))
    state.closed_at = None
    assert is_open(encode_state(state))
