"""Records behind an open transaction: since when, when they are warned of, and when that is over."""

import logging

import pytest
from aiokafka import TopicPartition

from streams.engine.hidden import AGAIN_SECONDS, PATIENCE_SECONDS, End, Hidden

ONE, OTHER = TopicPartition("in", 1), TopicPartition("in", 2)


def test_a_transaction_is_open_for_as_long_as_the_readable_log_ends_at_it() -> None:
    hidden = Hidden()
    hidden.look({ONE: End(10, 5), OTHER: End(7, 7)}, 100.0)
    hidden.look({ONE: End(14, 5), OTHER: End(7, 7)}, 120.0)
    assert hidden.held(130.0) == {ONE: (9, 30.0)}


def test_transactions_that_follow_on_each_other_are_not_one_long_one() -> None:
    hidden = Hidden()
    for second in range(600):
        hidden.look({ONE: End(10 * second + 5, 10 * second)}, float(second))
    assert hidden.held(600.0) == {ONE: (5, 1.0)}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    caplog.clear()
    return said


def test_a_minute_is_warned_of_with_what_ends_it_and_so_is_its_end_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    hidden, held = Hidden(), {ONE: End(10, 5)}
    for at in (0.0, PATIENCE_SECONDS - 1):
        hidden.look(held, at)
    assert not caplog.records
    hidden.look(held, PATIENCE_SECONDS)
    (said,) = warnings(caplog)
    assert said.startswith(
        "in partition 1: 5 records wait behind a transaction that has been open at offset 5 for 60 s"
    )
    assert "abort --topic in --partition 1 --start-offset 5" in said
    hidden.look(held, PATIENCE_SECONDS + AGAIN_SECONDS - 1)
    assert not warnings(caplog)
    hidden.look(held, PATIENCE_SECONDS + AGAIN_SECONDS)
    assert len(warnings(caplog)) == 1
    hidden.look({ONE: End(11, 11)}, 1_000.0)
    assert "no record is behind an open transaction any more" in caplog.text
    assert hidden.held(1_000.0) == {}


def test_a_partition_that_has_moved_to_another_worker_is_not_said_to_be_readable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    hidden, held = Hidden(), {ONE: End(10, 5)}
    hidden.look(held, 0.0)
    hidden.look(held, PATIENCE_SECONDS)
    caplog.clear()
    hidden.look({}, PATIENCE_SECONDS + 1)
    assert not caplog.records
    assert not hidden.held(PATIENCE_SECONDS + 1)
