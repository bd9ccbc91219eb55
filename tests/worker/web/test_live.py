"""The live page's events: what they say, to whom, and what they cost."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from support.pages import MadeUpWorker

from streams.engine.members import Member
from streams.settings import Settings
from streams.worker.metrics import Metrics
from streams.worker.web import WebServer, live
from streams.worker.web.live import History, together

TOKEN = "s3cret-token="


class Site:
    """A web server and a client."""

    def __init__(self, worker: MadeUpWorker, client: aiohttp.ClientSession, server: WebServer) -> None:
        self.worker, self.client, self.server = worker, client, server

    @asynccontextmanager
    async def watch(self, **headers: str) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
        """Opens the stream; gives what takes the next message: the access, then looks."""
        async with self.client.get(self.server.address + "/events", headers=headers) as response:
            assert response.status == 200
            assert response.content_type == "text/event-stream"

            async def next_message() -> Any:
                raw = await asyncio.wait_for(response.content.readuntil(b"\n\n"), 30)
                if not raw:
                    raise EOFError
                data = re.search(r"^data: (.*)$", raw.decode(), re.MULTILINE)
                assert data
                return data[1] if raw.startswith(b"event: access") else json.loads(data[1])

            yield next_message


def serve(
    scene: Callable[[Site], Awaitable[None]], worker: MadeUpWorker | None = None, **values: object
) -> None:
    async def run() -> None:
        settings, made = Settings(http_port=0, **values), worker or MadeUpWorker()  # type: ignore[arg-type]
        server = WebServer(settings, Metrics(settings), made, made)
        await server.start()
        try:
            async with aiohttp.ClientSession() as client:
                await scene(Site(made, client, server))
        finally:
            await server.stop()

    asyncio.run(run())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_EVERY", 0.05)


def test_ten_browsers_see_the_same_and_cost_as_much_as_one() -> None:
    async def scene(site: Site) -> None:
        async def look_five_times() -> list[Any]:
            async with site.watch() as message:
                assert await message() == "granted"
                return [await message() for _ in range(5)]

        begun = time.monotonic()
        seen = await asyncio.gather(*(look_five_times() for _ in range(10)))
        by_time = {look["now"]: look for looks in seen for look in looks}
        assert all(look == by_time[look["now"]] for looks in seen for look in looks)
        # As one browser would have it: a look takes a tenth of a second at least.
        assert site.worker.looks <= 10 * (time.monotonic() - begun) + 2
        assert {len(look["partitions"]) for look in by_time.values()} == {4}

    serve(scene)


def test_nobody_watches_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_GRACE", 0.1)

    async def scene(site: Site) -> None:
        assert site.worker.looks == 0
        for _ in range(2):
            async with site.watch() as message:
                await message()
                first = await message()
                second = await message()
            assert (len(first["lags"]), len(second["lags"])) == (1, 2)
            await asyncio.sleep(0.5)
            looks = site.worker.looks
            await asyncio.sleep(0.3)
            assert site.worker.looks == looks

    serve(scene)


def test_a_browser_that_reads_nothing_holds_up_no_other() -> None:
    async def scene(site: Site) -> None:
        port = int(site.server.address.rpartition(":")[2])
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await writer.drain()
        async with site.watch() as message:
            await message()
            looks = [await message() for _ in range(10)]
        assert looks[-1]["now"] > looks[0]["now"]

    serve(scene)


def test_ids_are_for_those_who_may_see_calls() -> None:
    async def scene(site: Site) -> None:
        async with site.watch(Authorization=f"Bearer {TOKEN}") as granted, site.watch() as refused:
            assert (await granted(), await refused()) == ("granted", "token")
            look, without = await granted(), await refused()
            assert len(look["longest"]) == 5
            assert "longest" not in without
            assert look["longest"][0]["id"] not in json.dumps(without)
        async with site.client.get(
            site.server.address + "/events", headers={"Authorization": "Bearer no"}
        ) as response:
            assert response.status == 401

    serve(scene, api_token=TOKEN)


def test_without_a_token_ids_are_for_this_machine() -> None:
    async def scene(site: Site) -> None:
        async with site.watch(Host="elsewhere.example.com") as message:
            assert await message() == "local"
            assert "longest" not in await message()

    serve(scene)


def test_stopping_the_server_ends_the_streams() -> None:
    async def scene(site: Site) -> None:
        async with site.watch() as message:
            await message()
            await message()
            await asyncio.wait_for(site.server.stop(), 3)
            with pytest.raises(EOFError):
                while True:
                    await message()

    serve(scene)


def test_a_worker_that_does_not_answer_is_named_and_its_partitions_are_unknown() -> None:
    async def scene(site: Site) -> None:
        async with site.watch() as message:
            await message()
            look = await message()
        assert look["problems"] == [
            "the worker of the partitions [2, 3] at http://127.0.0.1:1 does not answer (Connection refused)"
        ]
        assert [sorted(part) for part in look["partitions"][2:]] == [["number"], ["number"]]

    others = [Member("other", "http://127.0.0.1:1", [2, 3])]
    serve(scene, MadeUpWorker(partitions=[0, 1], group=others))


def test_two_workers_are_added_up() -> None:
    one, two = MadeUpWorker(partitions=[0, 2]), MadeUpWorker(partitions=[1, 3], began=0)
    documents = [one.status(), two.status()]
    history = History()
    history.add(0.0, documents)
    found = together(documents[0], documents[1:], [], history)
    assert [part["number"] for part in found["partitions"]] == [0, 1, 2, 3]
    assert found["timed_out"] == 622
    assert found["windows"][-1]["attempts"] == 228
    assert [worker["partitions"] for worker in found["workers"]] == [[0, 2], [1, 3]]
    assert [each["at"] for each in found["dead"]] == sorted((e["at"] for e in found["dead"]), reverse=True)


def _documents(read: dict[int, int], rejected: int, left: int = 0) -> list[dict[str, Any]]:
    parts = [
        {"number": n, "read": r, "committed": r, "end": r + 5, "recovery_remaining": 0}
        for n, r in read.items()
    ]
    if left:
        parts.append({"number": 9, "committed": None, "end": None, "recovery_remaining": left})
    return [{"partitions": parts, "rejected": {"schema": rejected}}]


def test_rates_hold_when_partitions_come_and_go() -> None:
    history = History()
    history.add(10.0, _documents({0: 100, 1: 1_000}, 7))
    history.add(12.0, _documents({0: 150, 1: 1_010}, 9))
    assert (list(history.rates), history.rejected()) == ([30.0], {"schema": 2})
    history.add(13.0, _documents({0: 160}, 3))  # the other one is with a worker that does not answer
    history.add(14.0, _documents({0: 170, 1: 9_000}, 40))
    assert list(history.rates) == [30.0, 10.0, 10.0]
    assert (history.rejected(), list(history.lags)) == ({"schema": 2}, [10, 10, 5, 10])
    history.add(15.0, _documents({0: 5, 1: 9_000}, 40))  # taken over from an earlier commit
    assert history.rates[-1] == 0


def test_how_long_restoring_takes() -> None:
    history = History()
    history.add(10.0, _documents({}, 0, left=1_000))
    assert history.recovery(9, 1_000) == {"done": 0.0, "seconds": None}
    history.add(12.0, _documents({}, 0, left=600))
    assert history.recovery(9, 600) == {"done": 0.4, "seconds": 3.0}


def test_the_page_is_for_browsers_and_takes_nothing_from_elsewhere() -> None:
    async def scene(site: Site) -> None:
        for path in ("/", "/page.css", "/live.js", "/icon.svg"):
            async with site.client.get(
                site.server.address + path, headers={"Accept": "text/html,*/*"}
            ) as response:
                body = await response.text()
                policy = response.headers["Content-Security-Policy"]
            assert response.status == 200
            assert policy.startswith("default-src 'none'; script-src 'self';")
            assert "unsafe" not in policy
            assert not re.search(r"(src|href)=\"(?!/|#)|url\(|@import|style=\"|<script>", body), path
            assert set(re.findall(r"https?://[^\s\"'<]*", body)) <= {"http://www.w3.org/2000/svg"}
        async with site.client.get(site.server.address + "/") as response:
            assert response.content_type == "text/plain"

    serve(scene)


def test_what_a_page_loads_is_kept_by_browsers_and_a_new_version_is_asked_for_by_another_name() -> None:
    async def scene(site: Site) -> None:
        async def get(path: str, accept: str = "*/*") -> tuple[str, str]:
            async with site.client.get(site.server.address + path, headers={"Accept": accept}) as response:
                assert response.status == 200
                return await response.text(), response.headers["Cache-Control"]

        html, of_page = await get("/calls", "text/html")
        assert of_page == "no-store"
        named = re.findall(r'(?:src|href)="(/[^"]+[.][^"]+)"', html)
        assert sorted(each.partition("?")[0] for each in named) == [
            "/icon.svg",
            "/open.js",
            "/openapi.json",
            "/page.css",
        ]
        named = [each for each in named if each != "/openapi.json"]
        script, _ = await get(next(each for each in named if "open.js" in each))
        named += re.findall(r'from "([^"]+)"', script)
        assert len(named) == 4
        for each in named:
            assert (await get(each))[1].endswith("immutable"), each
            for other in (each.partition("?")[0], each + "0"):
                assert (await get(other))[1] == "no-store", "it may be of another release"

    serve(scene)
