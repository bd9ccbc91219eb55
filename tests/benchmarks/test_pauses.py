"""What counts as a silence, and how the load is spread."""

import pytest

from benchmarks.pauses import Load, Pauses, call, in_turn, longest, partition_of, rows
from streams.codecs import CallDecoder


@pytest.mark.parametrize(
    ("moments", "seconds"),
    [
        ([], 10.0),
        ([9.0, 19.0], 9.0),  # what came before the beginning does not count
        ([11.0, 12.0, 16.0, 19.5], 4.0),
        ([1.0, 14.0, 25.0], 6.0),  # a silence that lasts at the end counts up to there
    ],
)
def test_the_longest_silence_from_10_to_20(moments: list[float], seconds: float) -> None:
    assert longest(moments, 10.0, 20.0) == seconds


def test_neighbours_lie_in_partitions_one_after_the_other() -> None:
    order = in_turn(1_000, 8)
    assert len(order) == len(set(order)) > 500
    assert [partition_of(call(number, 0)[0], 8) for number in order[:16]] == [*range(8), *range(8)]


def test_each_event_changes_the_price_of_a_valid_call() -> None:
    (key, value), (same, other) = call(7, 1), call(7, 20_002)
    first, second = (CallDecoder().decode(each, ()) for each in (value, other))
    assert key == same == first.id.encode()
    assert (first.price, second.price) == ("-0.0001", "-2.0002")


def test_the_table_keeps_apart_what_stayed_and_what_moved() -> None:
    found = [Pauses("join", [0.1, 0.3], [2.0]), Pauses("leave", [], [5.0]), Pauses("join", [0.2], [1.0])]
    assert rows("somebody", Load(3, 0, 1), found) == [
        {
            "partitions": 3,
            "contestant": "somebody",
            "event": "join",
            "stayed": 3,
            "stayed_median": 0.2,
            "stayed_worst": 0.3,
            "moved": 2,
            "moved_median": 1.5,
            "moved_worst": 2.0,
        },
        {
            "partitions": 3,
            "contestant": "somebody",
            "event": "leave",
            "stayed": 0,
            "stayed_median": None,
            "stayed_worst": None,
            "moved": 1,
            "moved_median": 5.0,
            "moved_worst": 5.0,
        },
    ]
