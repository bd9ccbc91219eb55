"""Calls over HTTP, with a made-up worker behind: who may see them, and what is said when nothing is certain."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlencode

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request
from support.pages import MadeUpWorker, site

from streams.calls.kpis import Kpis, KpiSelection
from streams.calls.partition import CallsPartition, Rules
from streams.calls.view import OpenCalls, OpenPage, OpenSelection, describe
from streams.engine.members import Member, MembersUnknownError
from streams.settings import Settings
from streams.worker.metrics import Metrics
from streams.worker.web import WebServer, calls
from streams.worker.web.access import Access, _is_loopback, access

PHONE = "+12125550123"
TOKEN = "s3cret-token="
OPENED = {name: f"2026-11-25T00:00:0{n}.000Z" for n, name in enumerate(("two", "one", "three"))}
PATHS = ("/calls", "/calls/one", "/calls/other")


@dataclass
class Worker(MadeUpWorker):
    """A worker that holds one call."""

    partitions: list[int] = field(default_factory=lambda: [0, 2])
    asked: list[tuple[OpenSelection, int]] = field(default_factory=list)
    added: list[KpiSelection] = field(default_factory=list)
    #: Becomes `reasons` while it is busy answering.
    then: list[str] | None = None
    #: Whether it is known who is in the group.
    knows_group: bool = True
    id: str = "one"
    total: int = 7

    async def members(self) -> tuple[str, list[Member]]:
        if not self.knows_group:
            raise MembersUnknownError("a rebalance is under way")
        return await super().members()

    def ready(self) -> list[str]:
        return []

    def call(self, call_id: str) -> dict[str, Any] | None:
        return {"id": call_id, "from": PHONE} if call_id in (self.id, "a/b ☎") else None

    async def open_calls(self, selection: OpenSelection, limit: int) -> OpenPage:
        self.asked.append((selection, limit))
        self.reasons = self.then or self.reasons
        return OpenPage([{"id": self.id, "opened_at": OPENED[self.id]}], [0, 0, 0, 0, 0, 0, self.total])

    async def kpis(self, selection: KpiSelection) -> Kpis:
        self.added.append(selection)
        return await super().kpis(selection)

    def longest(self) -> list[dict[str, Any]]:
        return [{"id": self.id}]

    def status(self) -> dict[str, Any]:
        return {"open": {"ringing": 1}}


Ask = Callable[..., Awaitable[tuple[aiohttp.ClientResponse, Any]]]


def serve(scene: Callable[[Worker, Ask], Awaitable[None]], **values: object) -> None:
    async def run() -> None:
        settings, worker = Settings(http_port=0, **values), Worker()  # type: ignore[arg-type]
        server = WebServer(settings, Metrics(settings), worker, worker)
        await server.start()
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as client:

                async def ask(path: str, **headers: str) -> tuple[aiohttp.ClientResponse, Any]:
                    named = {name.replace("_", "-"): value for name, value in headers.items()}
                    async with client.get(server.address + path, headers=named) as response:
                        return response, await response.json(content_type=None)

                await scene(worker, ask)
        finally:
            await server.stop()

    asyncio.run(run())


def test_a_call_by_its_id() -> None:
    async def scene(_: Worker, ask: Ask) -> None:
        response, call = await ask("/calls/one")
        assert (response.status, call) == (200, {"id": "one", "from": PHONE})
        assert (await ask("/calls/a%2Fb%20%E2%98%8E"))[1]["id"] == "a/b ☎"

    serve(scene)


def test_a_call_is_nowhere_once_every_partition_has_been_searched() -> None:
    async def scene(worker: Worker, ask: Ask) -> None:
        response, problem = await ask("/calls/other")
        assert (response.status, response.headers["Retry-After"]) == (503, "2")
        assert problem["detail"] == "partitions have moved meanwhile"
        worker.partitions = [0, 1, 2, 3]
        response, problem = await ask("/calls/other")
        assert (response.status, response.content_type) == (404, "application/problem+json")
        assert (problem["partitions"], problem["of"]) == ([0, 1, 2, 3], 4)
        worker.partitions, worker.knows_group = [0, 2], False
        response, problem = await ask("/calls/other")
        assert (response.status, problem["detail"]) == (503, "a rebalance is under way")
        assert (await ask("/calls/one"))[0].status == 200

    serve(scene)


def test_nothing_is_said_about_calls_while_nothing_is_certain() -> None:
    async def scene(worker: Worker, ask: Ask) -> None:
        worker.reasons = ["a rebalance is under way"]
        for path in PATHS:
            response, problem = await ask(path)
            assert (response.status, response.headers["Retry-After"]) == (503, "2")
            assert problem["detail"] == "a rebalance is under way"
        worker.reasons, worker.then = [], ["a rebalance is under way"]
        assert (await ask("/calls"))[0].status == 503
        assert (await ask("/status"))[1]["open"] == {"ringing": 1}

    serve(scene)


def test_a_query_is_understood_or_refused() -> None:
    async def scene(worker: Worker, ask: Ask) -> None:
        response, found = await ask("/calls?status=ringing&status=queued&country=de&older_than=1h&limit=7")
        assert response.status == 200
        assert [call["id"] for call in found["calls"]] == ["one"]
        assert (found["total"], found["partitions"], found["of"], found["problems"]) == (7, [0, 2], 4, [])
        [(selection, limit)] = worker.asked
        assert (selection.statuses, selection.countries, limit) == ({"ringing", "queued"}, {"DE"}, 7)
        assert abs((selection.before or 0) + 3_600_000 - time.time() * 1000) < 60_000
        for query in (
            "status=completed",
            "older_than=soon",
            "limit=0",
            "limit=²",
            "limit=1001",
            "state=x",
            "limit=1" + "0" * 5_000,
            "after=one",
        ):
            response, problem = await ask(f"/calls?{query}")
            assert (response.status, response.content_type) == (400, "application/problem+json")
            assert problem["detail"]
        assert len(worker.asked) == 1

    serve(scene)


def test_with_a_token_it_is_needed_here_too() -> None:
    async def scene(_: Worker, ask: Ask) -> None:
        for header in ("", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer", "Bearer ☎"):
            for path in PATHS:
                response, problem = await ask(path, **({"Authorization": header} if header else {}))
                assert (response.status, response.headers["WWW-Authenticate"][:6]) == (401, "Bearer")
                assert TOKEN not in str(problem)
        assert (await ask("/calls/one", Authorization=f"bearer {TOKEN}"))[0].status == 200
        assert "longest" in (await ask("/status", Authorization=f"Bearer {TOKEN}"))[1]
        response, status = await ask("/status")
        assert (response.status, "longest" in status) == (200, False)

    serve(scene, api_token=TOKEN)


#: What proxies add by default or by their manuals, one each.
FORWARDED = [
    "Forwarded", "Via", "X-Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server",
    "X-Forwarded-Port", "X-Forwarded-Client-Cert", "X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-ProxyUser-Ip",
    "X-Original-URL", "X-Original-Forwarded-For", "X-Envoy-External-Address", "X-Request-Id", "X-Amzn-Trace-Id",
    "X-Azure-ClientIP", "True-Client-IP", "CF-Connecting-IP", "CF-Ray", "Fastly-Client-IP", "Fly-Client-IP",
    "Client-IP", "WL-Proxy-Client-IP", "Proxy-Connection", "Max-Forwards", "CDN-Loop", "Early-Data", "Remote-User",
]  # fmt: skip


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": host}
        for host in ("rebound.example.com", "localhost.example.com", "localhost:1@evil", "", "[::1", "a b")
    ]
    + [{name: "127.0.0.1"} for name in FORWARDED],
    ids=str,
)
def test_without_a_token_only_this_machine_is_served(headers: dict[str, str]) -> None:
    async def scene(_: Worker, ask: Ask) -> None:
        for path in PATHS:
            response, problem = await ask(path, **headers)
            assert response.status == 403
            assert "TELEFONIE_API_TOKEN" in problem["detail"]

    serve(scene)


def raw(*lines: str) -> bytes:
    """The status line and headers of what a request gets, written as it is."""

    async def exchange(address: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        found = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return found

    async def run() -> bytes:
        settings, worker = Settings(http_port=0), Worker()
        server = WebServer(settings, Metrics(settings), worker, worker)
        await server.start()
        try:
            return await exchange(server.address)
        finally:
            await server.stop()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["GET /calls/one HTTP/1.1", "Host: localhost:6066"], b"200"),
        (["GET /calls/one HTTP/1.1", "Host: [::1]"], b"200"),
        (["GET /calls/one HTTP/1.1", "Host: LOCALHOST"], b"200"),
        (
            ["GET /calls/one HTTP/1.1", "Host: localhost", "Sec-Fetch-Mode: cors", "Priority: u=1", "DNT: 1"],
            b"200",
        ),
        # As nginx asks unless it is configured otherwise.
        (["GET /calls/one HTTP/1.0", "Host: 127.0.0.1:6066"], b"403"),
        (["GET http://localhost/calls/one HTTP/1.1", "Host: localhost"], b"403"),
        (["GET http://evil.example.com/calls/one HTTP/1.1", "Host: localhost"], b"403"),
    ],
)
def test_what_is_asked_directly(lines: list[str], status: bytes) -> None:
    assert raw(*lines).split()[1] == status


@pytest.mark.parametrize(
    ("peer", "found"),
    [("127.0.0.1", Access.GRANTED), ("192.0.2.1", Access.NOT_LOCAL), ("", Access.NOT_LOCAL)],
)
def test_a_local_name_does_not_make_another_machine_this_one(peer: str, found: Access) -> None:
    transport = Mock()
    transport.get_extra_info.side_effect = {"peername": (peer, 40_000)}.get
    request = make_mocked_request("GET", "/calls", {"Host": "localhost"}, transport=transport)
    assert access(request, None) is found


def test_a_token_that_is_no_text_is_a_wrong_one() -> None:
    request = Mock(headers={"Authorization": "Bearer \udcff"})  # as aiohttp reads bytes that are not UTF-8
    assert access(request, TOKEN) is Access.NO_TOKEN


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False),
     ("::ffff:10.0.0.1", False), ("fe80::1", False), ("", False), ("localhost.example.com", False)],
)  # fmt: skip
def test_what_is_this_machine(address: str, local: bool) -> None:
    assert _is_loopback(address) is local


class Open(MadeUpWorker):
    """Holds open calls, chosen as a worker does."""

    def __init__(self, member_id: str, partitions: list[int], ids: list[str]) -> None:
        super().__init__(partitions=partitions, member_id=member_id)
        #: Those that close between the look at all and the one at each.
        self.closing: set[str] = set()
        self.calls = CallsPartition(Rules(), 0)
        events = [
            {"id": id_, "direction": "inbound", "from": PHONE, "to": PHONE, "status": "ringing"}
            for id_ in ids
        ]
        stamps = [1_764_041_713_000 + 1000 * (n // 3) for n in range(len(ids))]
        self.calls.process(
            [(n, stamps[n], None, json.dumps(event).encode(), []) for n, event in enumerate(events)], 1 << 60
        )

    async def open_calls(self, selection: OpenSelection, limit: int) -> OpenPage:
        found = OpenCalls.of(self.calls).chosen(selection, limit + 1, 1_764_041_713_000)
        described = (describe(self.calls, key.decode()) for _, key in found.oldest[:limit])
        calls = [each for each in described if each and each["id"] not in self.closing]
        return OpenPage(calls, found.ages, found.oldest[limit - 1] if len(found.oldest) > limit else None)


def pages(where: str, limit: int) -> list[list[str]]:
    """The ids of all open calls, asked for in pages."""
    found, query = list[list[str]](), {"limit": str(limit)}
    while True:
        with urllib.request.urlopen(f"{where}/calls?{urlencode(query)}", timeout=10) as answer:
            page = json.load(answer)
        assert len(page["calls"]) <= limit
        assert page["total"] == 14
        found.append([call["id"] for call in page["calls"]])
        if page["next"] is None:
            return found
        query["after"] = page["next"]


@pytest.mark.parametrize("limit", [1, 4, 14, 100])
def test_pages_of_open_calls_have_each_once_the_oldest_first(limit: int) -> None:
    one = Open("one", [0, 1], [f"a:{n} ☎" for n in range(7)])
    two = Open("two", [2, 3], [f"b:{n}\n" for n in range(7)])
    with site(one) as here, site(two) as there:
        one.group = [Member("one", here.url, [0, 1]), Member("two", there.url, [2, 3])]
        asked = pages(here.url, limit)
        assert len(asked) == -(-14 // limit), "no page is empty"
        found = [id_ for page in asked for id_ in page]
        assert sorted(found) == sorted([f"a:{n} ☎" for n in range(7)] + [f"b:{n}\n" for n in range(7)])
        assert [int(id_[2]) // 3 for id_ in found] == [0] * 6 + [1] * 6 + [2] * 2


def test_pages_go_on_behind_calls_that_close_meanwhile() -> None:
    worker = Open("me", [0, 1, 2, 3], [f"a{n:02}" for n in range(14)])
    worker.closing = {"a03", "a04", "a05", "a13"}
    with site(worker) as made:
        assert pages(made.url, 3) == [
            ["a00", "a01", "a02"], [], ["a06", "a07", "a08"], ["a09", "a10", "a11"], ["a12"],
        ]  # fmt: skip


def test_all_who_ask_the_same_within_a_moment_get_one_look_but_each_a_confirmation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "_SHARE", 1e-9)  # the moment is the longest that there is

    async def scene(worker: Worker, ask: Ask) -> None:
        answers = await asyncio.gather(*(ask("/calls?limit=5&status=ringing") for _ in range(8)))
        assert [response.status for response, _ in answers] == [200] * 8
        assert len(worker.asked) == 1
        await ask("/calls?limit=6&status=ringing")
        assert len(worker.asked) == 2
        worker.reasons = ["a rebalance is under way"]
        response, _ = await ask("/calls?limit=6&status=ringing")
        assert response.status == 503
        worker.reasons = []
        before = len(worker.asked)
        await ask("/calls?limit=6&status=ringing")
        assert len(worker.asked) == before + 1, "what was seen while nothing was certain is not told"

    serve(scene)


def test_all_who_ask_for_the_same_kpis_within_a_moment_get_one_sum() -> None:
    async def scene(worker: Worker, ask: Ask) -> None:
        for path in ("/kpis", "/kpis?country=fr"):
            answers = await asyncio.gather(*(ask(path) for _ in range(8)))
            assert [response.status for response, _ in answers] == [200] * 8
        assert [each.countries for each in worker.added] == [frozenset(), {"FR"}]
        worker.reasons = ["a rebalance is under way"]
        assert (await ask("/kpis"))[0].status == 503

    serve(scene)
