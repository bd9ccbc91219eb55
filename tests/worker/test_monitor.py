"""What a worker reports to its web server about its own partitions."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from streams.calls.partition import CallsPartition, Rules
from streams.calls.view import OpenSelection
from streams.settings import Settings
from streams.worker.metrics import Metrics
from streams.worker.monitor import Monitor

START = 1_764_041_713_000
PHONE = "+12125550123"


def monitor(*partitions: list[str]) -> Monitor:
    """Of a worker whose partitions have these open calls, each a second younger than the one before."""
    owned = {}
    for number, ids in enumerate(partitions):
        calls = CallsPartition(Rules(), number)
        for n, id_ in enumerate(ids):
            event = {"id": id_, "direction": "inbound", "from": PHONE, "to": PHONE, "status": "ringing"}
            calls.process([(n, START + 1000 * n, None, json.dumps(event).encode(), [])], 1 << 60)
        owned[number] = SimpleNamespace(
            processor=calls, committed=len(ids), committed_at=0, skipped=0, store=None
        )
    settings = Settings()
    made = Monitor(settings, Metrics(settings))
    made.app = app = SimpleNamespace()  # type: ignore[assignment]
    app.engine = SimpleNamespace(partitions=owned, remaining={})
    app.consumer = SimpleNamespace(end=lambda tp: SimpleNamespace(written=10 + tp.partition, hidden=0))
    return made


def ids(calls: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in calls]


def test_a_page_of_open_calls_says_where_it_ends_if_there_are_more() -> None:
    made = monitor(["a0", "a1", "a2"], ["b0", "b1"])

    async def scene() -> None:
        page = await made.open_calls(OpenSelection(), 3)
        assert (ids(page.calls), page.next, sum(page.ages)) == (["a0", "b0", "a1"], (START + 1000, b"a1"), 5)
        assert page.next is not None
        page = await made.open_calls(OpenSelection(after=page.next), 3)
        assert (ids(page.calls), page.next, sum(page.ages)) == (["b1", "a2"], None, 5)
        assert (await made.open_calls(OpenSelection(), 5)).next is None
        assert (await made.open_calls(OpenSelection(), 4)).next == (START + 1000, b"b1")

    asyncio.run(scene())


def test_calls_that_close_meanwhile_are_left_out_and_those_behind_are_not_lost() -> None:
    made = monitor(["a0", "a1", "a2"])
    there = made.call
    made.call = lambda id_: None if id_ in ("a0", "a1") else there(id_)  # type: ignore[method-assign]

    async def scene() -> None:
        page = await made.open_calls(OpenSelection(), 2)
        assert (page.calls, page.next) == ([], (START + 1000, b"a1"))

    asyncio.run(scene())


def test_records_that_wait_are_those_that_are_not_committed() -> None:
    assert monitor(["a0", "a1", "a2"], ["b0"]).waiting() == (10 - 3) + (11 - 1)
    assert monitor().waiting() == 0
