"""The brokers' clock, as their answers tell it."""

import logging

import pytest

from streams.engine.clock import Clock

HOUR = 3_600_000


class Times:
    """Three clocks: our own, which may be set; the monotonic one; and the brokers'."""

    def __init__(self, own: int = 1_000_000_000) -> None:
        self.own, self.monotonic, self.theirs = own, 77, 1_000_000_000
        self.clock = Clock(lambda: self.own, lambda: self.monotonic)

    def pass_(self, milliseconds: int) -> None:
        self.own += milliseconds
        self.monotonic += milliseconds
        self.theirs += milliseconds

    def ask(self, there: int = 5, back: int = 5) -> None:
        """A question is so long under way, and the answer."""
        asked = self.clock.asked()
        self.pass_(there)
        told = self.theirs
        self.pass_(back)
        self.clock.heard(asked, told)

    @property
    def error(self) -> int:
        return self.clock.now() - self.theirs


@pytest.mark.parametrize("off", [-48 * HOUR, -10, 0, 10, 48 * HOUR])
def test_the_brokers_clock_counts_once_they_have_told_it(off: int) -> None:
    times = Times(1_000_000_000 + off)
    assert (times.error, times.clock.is_doubtful, times.clock.told) == (off, True, None)
    times.ask()
    assert (times.error, times.clock.is_doubtful, times.clock.told) == (0, False, off / 1000)


def test_the_quickest_of_the_last_answers_tells_the_time_best() -> None:
    times = Times()
    times.ask(900, 100)
    assert times.error == 400
    times.ask(10, 0)
    assert times.error == 5
    times.ask(0, 700)
    assert times.error == 5
    for _ in range(100):  # clocks drift, and what was told long ago says little
        times.own += 1
        times.ask(20, 20)
    assert abs(times.error) <= 64


@pytest.mark.parametrize("jump", [-10 * 60_000, 48 * HOUR])
def test_a_clock_that_was_set_is_doubtful_and_the_next_answer_counts_at_once(jump: int) -> None:
    times = Times()
    for _ in range(10):
        times.ask(1, 1)
    times.own += jump
    assert times.clock.is_doubtful
    times.ask(200, 200)
    assert abs(times.error) <= 200
    assert not times.clock.is_doubtful


def test_brokers_whose_clock_is_set_are_followed() -> None:
    times = Times()
    times.ask(1, 1)
    times.theirs += HOUR
    times.ask(200, 200)
    assert abs(times.error) <= 200


def test_where_no_answer_tells_the_time_our_own_clock_is_trusted_until_one_does() -> None:
    times = Times(1_000_000_000 + HOUR)
    times.ask()
    times.clock.go_blind()
    assert (times.error, times.clock.is_doubtful, times.clock.told) == (HOUR, False, None)
    times.ask()
    assert (times.error, times.clock.told) == (0, HOUR / 1000)


def test_a_clock_that_is_off_is_warned_of_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    times = Times(1_000_000_000 - HOUR)
    with caplog.at_level(logging.WARNING):
        for _ in range(700):
            times.ask(500, 500)
    assert len(caplog.records) == 2
    assert "this machine's clock is 3600.0 s behind the brokers'" in caplog.text
    times = Times()
    caplog.clear()
    times.ask(1_000, 1_000)
    assert not caplog.records
