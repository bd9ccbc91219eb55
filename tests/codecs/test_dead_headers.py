"""The headers of dead letters, written and read back, and the smaller forms of a letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codecs import REASONS, Rejected, Rejection, dead_headers, smaller_letter, split_headers

NAMES = st.sampled_from(
    [
        "trace",
        "Ger\udce4t",
        "dead-reason",
        "dead-message",
        "dead-path",
        "dead-topic",
        "dead-partition",
        "dead-offset",
        "dead-timestamp",
        "dead-value-bytes",
    ]
)
OWN = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=5)), max_size=12)
PATHS = st.none() | st.sampled_from(["$", "$.from"])
SAID = Rejected("empty", "nothing")


@given(
    OWN,
    st.sampled_from(REASONS),
    st.text(max_size=9).filter(str.isprintable),
    PATHS,
    st.integers(0, 2**62),
    st.integers(-1, 2**62),
)
def test_what_was_added_is_taken_away_and_nothing_else(own, reason, message, path, offset, timestamp) -> None:
    written = dead_headers(own, Rejected(reason, message, path), "calls", 3, offset, timestamp)
    found = own, Rejection(reason, message, path, "calls", 3, offset, timestamp)
    assert split_headers(written) == found
    assert split_headers(tuple(written)) == found
    of_former_release = written[:-1]
    assert split_headers(of_former_release) == (own, Rejection(reason, message, path, "calls", 3, offset))


@given(OWN)
def test_a_record_of_another_kind_is_no_dead_letter(own) -> None:
    assert split_headers([*own, ("trace", b"")]) is None


def test_places_that_are_no_numbers_are_none_of_ours() -> None:
    *written, offset, timestamp = dead_headers([], SAID, "calls", 3, 4, 5)
    assert split_headers([*written, ("dead-offset", b"four"), timestamp]) is None
    assert split_headers([*written, offset, timestamp]) is not None


def test_headers_of_others_are_read_whatever_is_in_them() -> None:
    *_, topic, partition, offset, _timestamp = dead_headers([], SAID, "calls", 3, 4, 5)
    odd = [
        ("dead-reason", None),
        ("dead-message", b"\xff"),
        topic,
        partition,
        offset,
        ("dead-timestamp", b"x"),
    ]
    assert split_headers(odd) == ([], Rejection("", "\ufffd", None, "calls", 3, 4))


@pytest.mark.parametrize("timestamp", [-1, -7])
def test_a_record_without_a_timestamp_says_so(timestamp: int) -> None:
    assert dead_headers([], SAID, "calls", 3, 4, timestamp)[-1] == ("dead-timestamp", b"-1")


@given(OWN, st.binary(min_size=1, max_size=9), st.none() | st.binary(max_size=5))
def test_a_letter_loses_its_value_first_and_then_all_that_is_not_ours(own, value, key) -> None:
    letter = key, value, -2, dead_headers(own, SAID, "calls", 3, 4, 5)
    without_value = smaller_letter(letter)
    assert without_value is not None
    said = Rejection("empty", "nothing", None, "calls", 3, 4, 5, len(value))
    assert without_value[:3] == (key, b"", -2)
    assert split_headers(without_value[3]) == (own, said)
    smallest = smaller_letter(without_value)
    if key is None and not own:
        assert smallest is None
        return
    assert smallest is not None
    assert smallest[:3] == (None, b"", -2)
    assert split_headers(smallest[3]) == ([], said)
    assert smaller_letter(smallest) is None


def test_a_letter_without_a_value_has_none_to_lose() -> None:
    for value in (None, b""):
        letter = b"key", value, -2, dead_headers([("a", b"b")], SAID, "calls", 3, 4, 5)
        smaller = smaller_letter(letter)
        assert smaller == (None, value, -2, dead_headers([], SAID, "calls", 3, 4, 5))
        assert smaller_letter(smaller) is None
