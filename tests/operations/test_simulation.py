"""Simulated calls: repeatable, realistic, in the standard mix."""

import hashlib
import tracemalloc
from collections import Counter, defaultdict
from itertools import islice, pairwise

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codecs import Call, CallDecoder, Rejected
from streams.operations.simulation import LIFESPAN_MS, Event, Mix, events

START = 1_790_000_000_000
PLAIN = Mix(duplicates=0, disorder=0, invalid=0)
RANK = {"queued": 0, "ringing": 1, "in-progress": 2}
decode = CallDecoder().decode


def told(calls: int = 2000, seed: int = 7, rate: float = 200, mix: Mix = PLAIN) -> list[Event]:
    return list(events(seed, calls, rate, START, mix))


def is_valid(value: bytes) -> bool:
    try:
        decode(value, ())
    except Rejected:
        return False
    return True


def histories(of: list[Event]) -> dict[bytes, list[Call]]:
    found: dict[bytes, list[Call]] = defaultdict(list)
    for _, key, value in of:
        found[key].append(decode(value, ()))
    return found


def test_the_same_seed_gives_the_same_bytes_on_every_machine() -> None:
    digest = hashlib.sha256(repr(told(mix=Mix(unterminated=0.05))).encode()).hexdigest()
    assert digest == "0272837ecfd5fbf5d4a34352cc84f25dd47361890a9eff89aad415f5f739b27d"


def test_another_seed_gives_other_calls() -> None:
    assert not {key for _, key, _ in told(seed=1)} & {key for _, key, _ in told(seed=2)}


def test_the_mix_changes_how_calls_are_told_never_the_calls() -> None:
    noisy = told(mix=Mix(0.3, 0.3, 0.3))
    assert {each for each in noisy if is_valid(each[2])} == set(told())


def test_the_start_only_moves_the_times() -> None:
    later = [(at - 5_000, key) for at, key, _ in events(7, 200, 200, START + 5_000, PLAIN)]
    assert later == [(at, key) for at, key, _ in told(200)]


def test_calls_start_at_the_rate_and_end_within_their_lifespan() -> None:
    stream = told(1000, rate=50)
    starts = [at for at, _, value in stream if b'"queued"' in value]
    assert len(starts) == 1000
    assert START <= starts[0] < START + 20
    assert START + 19_900 < starts[-1] < START + 20_000
    begun: dict[bytes, int] = {}
    assert all(at - begun.setdefault(key, at) < LIFESPAN_MS for at, key, _ in stream)


def test_without_disorder_events_are_in_order_of_time() -> None:
    stream = told()
    assert all(before[0] <= after[0] for before, after in pairwise(stream))


def test_every_call_goes_forward_to_one_end() -> None:
    for calls in histories(told()).values():
        ranks = [RANK.get(call.status, 3) for call in calls]
        assert calls[0].status == "queued"
        assert ranks == sorted(ranks)
        assert ranks[-1] == 3
        assert len({call.status for call in calls if call.status not in RANK}) == 1
        assert len({(call.id, call.direction, call.from_, call.to) for call in calls}) == 1


def test_every_kind_of_end_and_every_late_amendment_is_there() -> None:
    calls = histories(told()).values()
    ends = Counter(each[-1].status for each in calls)
    assert set(ends) == {"completed", "no-answer", "busy", "canceled", "failed"}
    assert 0.66 < ends["completed"] / ends.total() < 0.76
    completed = [each for each in calls if each[-1].status == "completed"]
    assert all(isinstance(each[-1].price, str) and each[-1].end_time for each in completed)
    first = [next(call for call in each if call.status == "completed") for each in completed]
    assert any(call.price for call in first)
    assert any(not call.price for call in first)
    assert any(each[-1].recording_url for each in completed)


def test_keys_are_ids_and_numbers_are_of_many_countries() -> None:
    regions: Counter[str | None] = Counter()
    for _, key, value in told(500):
        call = decode(value, ())
        assert call.id.encode() == key
        for number in (call.from_, call.to):
            parsed = phonenumbers.parse(number)
            assert phonenumbers.is_valid_number(parsed)
            regions[phonenumbers.region_code_for_number(parsed)] += 1
    assert len(regions) >= 10


def test_the_standard_mix() -> None:
    stream = told(5000, mix=Mix())
    valid = [each for each in stream if is_valid(each[2])]
    calls = told(5000)
    assert 3.9 < len(calls) / 5000 < 4.2
    assert 0.045 < len(valid) / len(calls) - 1 < 0.055
    assert 0.008 < (len(stream) - len(valid)) / len(calls) < 0.012
    assert 320 < sum(len(value) for _, _, value in valid) / len(valid) < 340


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_disorder_is_the_share_of_events_that_are_overtaken(share: float) -> None:
    newest: dict[bytes, int] = defaultdict(int)
    overtaken = 0
    stream = told(5000, mix=Mix(0, share, 0))
    for at, key, _ in stream:
        overtaken += at < newest[key]
        newest[key] = max(at, newest[key])
    # Of two that trade places one is overtaken; large shares overlap, so fewer are.
    assert 0.5 * share < overtaken / len(stream) < 1.2 * share


def test_unterminated_calls_have_no_end() -> None:
    calls = histories(told(mix=Mix(0, 0, 0, unterminated=0.25))).values()
    open_ones = sum(each[-1].status in RANK for each in calls)
    assert 0.2 < open_ones / len(calls) < 0.3


@given(st.integers(0, 2**32), st.integers(0, 60))
def test_damaged_copies_are_always_rejected(seed: int, calls: int) -> None:
    stream = list(events(seed, calls, 10, START, Mix(0, 0, invalid=1)))
    assert sum(is_valid(value) for _, _, value in stream) * 2 == len(stream)


def test_an_endless_stream_keeps_only_the_calls_under_way() -> None:
    stream = events(1, None, 10, START)
    for _ in islice(stream, 20_000):
        pass
    tracemalloc.start()
    for _ in islice(stream, 20_000):
        pass
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 2_000_000
