"""Fetches and commits: what the brokers have is applied just before it is committed."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.schedule import Schedule, gather_seconds

INTERVALS = st.sampled_from([0.005, 0.025, 0.1, 1.0, 30.0])


def due(seconds: float, at: float) -> Schedule:
    schedule = Schedule(seconds)
    schedule.due = at
    return schedule


def fetches(schedule: Schedule, now: float) -> list[float]:
    """When each fetch is answered that is asked for from now on, up to the commit after the next."""
    answers = []
    end = schedule.due + schedule.seconds
    while now < schedule.due or schedule.due < end - 1e-9:
        if now >= schedule.due:
            schedule.due += schedule.seconds
        now += gather_seconds([schedule], now)
        answers.append(now)
    return answers


@pytest.mark.parametrize("seconds", [0.025, 0.1, 1.0])
def test_the_last_answer_before_a_commit_comes_just_in_time(seconds: float) -> None:
    for step in range(20):
        schedule = due(seconds, 100.0)
        answers = fetches(schedule, 100.0 - seconds * step / 20)
        early = [100.0 + seconds - answer for answer in answers]
        assert any(0.009 <= each <= 0.011 for each in early), (step, early)


@given(INTERVALS, st.floats(-60, 60))
def test_no_answer_takes_long_and_none_comes_at_once(seconds: float, left: float) -> None:
    gather = gather_seconds([due(seconds, 100.0 + min(left, seconds))], 100.0)
    usual = min(0.05, seconds / 3)
    assert usual / 2 - 1e-9 <= gather <= 1.5 * usual + 1e-9


def test_of_two_stages_the_one_that_commits_first_counts() -> None:
    first, second = due(0.1, 100.050), due(0.1, 100.090)
    assert gather_seconds([second, first], 100.0) == gather_seconds([first], 100.0)


def test_work_that_takes_long_is_due_at_once_and_not_made_up_for() -> None:
    async def work() -> list[float]:
        schedule, begun = Schedule(0.02), time.monotonic()
        starts = []
        for seconds in (0.0, 0.07, 0.0, 0.0):
            await schedule.wait()
            starts.append(time.monotonic() - begun)
            await asyncio.sleep(seconds)
        return starts

    starts = asyncio.run(work())
    assert starts[0] >= 0.02
    assert starts[1] >= 0.04
    assert starts[2] - starts[1] >= 0.07
    assert starts[3] - starts[2] >= 0.015, "the intervals that have passed are not made up for"


async def waited(schedule: Schedule) -> float:
    """Seconds from the end of a fetch to the commit."""
    begun = time.monotonic()
    schedule.applied()
    await asyncio.wait_for(schedule.wait(), 10)
    return time.monotonic() - begun


def test_a_commit_does_not_wait_once_the_last_fetch_before_it_has_been_applied() -> None:
    begun = time.monotonic()
    schedule = due(60.0, begun + 20)
    schedule.early = 25.0
    assert asyncio.run(waited(schedule)) < 5
    assert schedule.due == begun + 80, "the times stay where they were"


def test_a_commit_waits_for_the_fetches_that_are_still_to_come() -> None:
    assert asyncio.run(waited(due(60.0, time.monotonic() + 0.2))) > 0.15


def test_fetches_do_not_make_commits_more_frequent() -> None:
    async def commits() -> float:
        begun, schedule = time.monotonic(), Schedule(0.004)
        for _ in range(50):
            await waited(schedule)
        return time.monotonic() - begun

    assert asyncio.run(commits()) >= 0.1
