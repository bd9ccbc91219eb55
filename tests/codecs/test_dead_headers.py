"""The headers of dead letters, written and read back."""

from hypothesis import given
from hypothesis import strategies as st

from streams.codecs import REASONS, Rejected, Rejection, dead_headers, split_headers

NAMES = st.sampled_from(
    ["trace", "dead-reason", "dead-message", "dead-path", "dead-topic", "dead-partition", "dead-offset"]
)
OWN = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=5)), max_size=12)
PATHS = st.none() | st.sampled_from(["$", "$.from"])


@given(
    OWN, st.sampled_from(REASONS), st.text(max_size=9).filter(str.isprintable), PATHS, st.integers(0, 2**62)
)
def test_what_was_added_is_taken_away_and_nothing_else(own, reason, message, path, offset) -> None:
    written = dead_headers(own, Rejected(reason, message, path), "calls", 3, offset)
    assert split_headers(written) == (own, Rejection(reason, message, path, "calls", 3, offset))
    assert split_headers(tuple(written)) == (own, Rejection(reason, message, path, "calls", 3, offset))


@given(OWN)
def test_a_record_of_another_kind_is_no_dead_letter(own) -> None:
    assert split_headers([*own, ("trace", b"")]) is None


def test_places_that_are_no_numbers_are_none_of_ours() -> None:
    written = dead_headers([], Rejected("empty", "nothing"), "calls", 3, 4)
    assert split_headers([*written[:-1], ("dead-offset", b"four")]) is None


def test_headers_of_others_are_read_whatever_is_in_them() -> None:
    *_, topic, partition, offset = dead_headers([], Rejected("empty", "nothing"), "calls", 3, 4)
    odd = [("dead-reason", None), ("dead-message", b"\xff"), topic, partition, offset]
    assert split_headers(odd) == ([], Rejection("", "\ufffd", None, "calls", 3, 4))
