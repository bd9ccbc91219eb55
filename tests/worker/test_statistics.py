"""What is reported about all open calls: complete, and never at the expense of the event loop."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest

from streams.calls.partition import CallsPartition, Rules
from streams.calls.view import OpenCalls
from streams.worker import statistics as figures
from streams.worker.statistics import Census, Statistics

START = 1_764_041_713_000
CALL = {"direction": "outbound", "from": "+12125550123", "to": "+4915123456789"}


def partition(number: int, *events: tuple[str, str, int]) -> CallsPartition:
    """A partition with events of an id and a status, each this many seconds after the start."""
    made = CallsPartition(Rules(), number)
    for offset, (id_, status, at) in enumerate(events):
        value = json.dumps(CALL | {"id": id_, "status": status}).encode()
        made.process([(offset, START + at * 1000, None, value, [])], 1 << 60)
    return made


def test_all_open_calls_are_counted_and_the_oldest_is_the_oldest() -> None:
    one = partition(0, *((f"c{n}", "ringing", n) for n in range(300)), ("first", "queued", -18_000))
    two = partition(1, ("other", "in-progress", 5), ("over", "busy", 6))

    async def scene() -> None:
        seen, partitions = Statistics(60_000), {0: one, 1: two}
        assert seen.open(partitions) is None
        await seen.survey(partitions)
        assert seen.open(partitions) == {"ringing": 300, "queued": 1, "in-progress": 1}
        assert seen.oldest(partitions) == START - 18_000_000
        assert [each["id"] for each in seen.longest(partitions)][:3] == ["first", "c0", "c1"]
        del one.open[b"first"]
        assert [each["id"] for each in seen.longest(partitions)][:2] == ["c0", "c1"]

    asyncio.run(scene())


def test_only_partitions_that_are_ours_are_told_of_and_new_ones_at_once() -> None:
    one, two = partition(0, ("a", "ringing", 0)), partition(1, ("b", "queued", 1))

    async def scene() -> None:
        seen = Statistics(60_000)
        await seen.survey({0: one})
        await seen.survey({0: one, 1: two})
        assert seen.open({0: one, 1: two}) == {"ringing": 1, "queued": 1}
        assert seen.open({1: two}) == {"queued": 1}
        await seen.survey({})
        assert (seen.open({}), seen.oldest({})) == ({}, None)

    asyncio.run(scene())


def test_the_event_loop_only_waits_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def slow(_: OpenCalls) -> Census:
        threads.append(threading.current_thread())
        time.sleep(0.3)
        return real(_)

    real = figures._census
    monkeypatch.setattr(figures, "_census", slow)
    monkeypatch.setattr(figures, "_PATIENCE", 0.05)
    calls = partition(0, ("a", "ringing", 0))

    async def scene() -> None:
        seen = Statistics(60_000)
        begun = time.monotonic()
        await asyncio.gather(*(seen.survey({0: calls}) for _ in range(20)))
        assert time.monotonic() - begun < 0.25
        assert seen.open({0: calls}) is None
        await asyncio.sleep(0.5)
        assert seen.open({0: calls}) == {"ringing": 1}
        for _ in range(20):
            await seen.survey({0: calls})
        assert len(threads) == 1, "a look that took 0.3 s is not repeated within 30 s"
        assert threads[0] is not threading.main_thread()

    asyncio.run(scene())
