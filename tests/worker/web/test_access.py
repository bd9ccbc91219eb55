"""Who sees what: every route of two workers, asked with every kind of access."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.pages import PHONE, MadeUpTopics, MadeUpWorker

from streams.calls.kpis import Kpis, KpiSelection, Sums
from streams.calls.view import OpenPage, OpenSelection
from streams.codecs import CompletedCall, Rejected, Source, Timeline, dead_headers, encode_completed
from streams.engine.members import Member
from streams.kafka.reading import LogRecord
from streams.settings import Settings
from streams.worker.metrics import Metrics
from streams.worker.web import WebServer, published
from streams.worker.web.group import MEMBER

TOKEN = "s3cret-token="
PARTITIONS = {"alpha": [0, 2], "beta": [1, 3]}
#: What of each route is only for those who may see call data; nothing of it where a route serves everybody alike.
SECRETS = ["secret-alpha", "secret-beta", PHONE]
OPEN_TO_ALL = {
    "/", "/page.css", "/common.js", "/live.js", "/call.js", "/open.js", "/rejected.js", "/letter.js", "/kpis.js",
    "/icon.svg",
    "/live", "/ready", "/metrics", "/openapi.json",
}  # fmt: skip
#: Routes with nothing but call data, which refuse others, and what each shows.
CALLS = {
    "/calls": SECRETS,
    "/calls/secret-beta": [SECRETS[1], PHONE],
    "/completed/secret-beta": [SECRETS[1], PHONE],
    "/dead": [SECRETS[1]],
    "/kpis": SECRETS[:2],
    "/dead/0:0": [SECRETS[1], PHONE],
}


class Holder(MadeUpWorker):
    """Holds one call, which is also its longest open one."""

    @property
    def id(self) -> str:
        return f"secret-{self.member_id}"

    def call(self, call_id: str) -> dict[str, Any] | None:
        return {"id": self.id, "from": PHONE} if call_id == self.id else None

    async def open_calls(self, _: OpenSelection, limit: int) -> OpenPage:  # noqa: ARG002
        call = {"id": self.id, "from": PHONE, "opened_at": "2026-11-25T00:00:00.000Z"}
        return OpenPage([call], [0, 0, 0, 0, 0, 0, 1])

    async def kpis(self, _: KpiSelection) -> Kpis:
        found = Kpis.nothing()
        found.countries[self.id] = Sums()
        return found

    def longest(self) -> list[dict[str, Any]]:
        return [{"id": self.id, "status": "ringing", "since": 0}]


@dataclass
class Site:
    """Two workers of a group; requests go to the first."""

    servers: dict[str, WebServer]
    client: aiohttp.ClientSession

    def paths(self) -> set[str]:
        """Every route, with an id of the other worker where one takes an id."""
        routes = self.servers["alpha"]._runner.app.router.routes()
        found = {route.resource.canonical for route in routes if route.resource is not None}
        return {path.replace("{id}", "secret-beta").replace("{partition}:{offset}", "0:0") for path in found}

    async def ask(self, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """The status, and the body; of a stream its first two events."""
        address = self.servers["alpha"].address
        async with self.client.get(address + path, headers=headers) as answer:
            if answer.content_type != "text/event-stream":
                return answer.status, await answer.text()
            parts = [await answer.content.readuntil(b"\n\n") for _ in range(2)]
            return answer.status, b"".join(parts).decode()


def serve(scene: Callable[[Site], Awaitable[None]], token: str | None) -> None:
    async def run() -> None:
        settings = Settings(http_port=0, api_token=token)
        async with AsyncExitStack() as running:
            client = await running.enter_async_context(aiohttp.ClientSession())
            workers = {name: Holder(partitions=n, member_id=name) for name, n in PARTITIONS.items()}
            servers = {
                name: WebServer(settings, Metrics(settings), each, each) for name, each in workers.items()
            }
            for server in servers.values():
                await server.start()
                running.push_async_callback(server.stop)
            group = [Member(name, servers[name].address, PARTITIONS[name]) for name in PARTITIONS]
            for worker in workers.values():
                worker.group = group
            await scene(Site(servers, client))

    asyncio.run(run())


@pytest.fixture(autouse=True)
def _topics(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each topic lies a record with a secret."""
    call = CompletedCall(
        "secret-beta", "busy", "inbound", PHONE, PHONE, 1, "status", "2026-11-25T00:00:00.000Z", Timeline(), False,
        1, Source("telefonie.calls", 0, 0),
    )  # fmt: skip
    headers = dead_headers([], Rejected("schema", SECRETS[1]), "telefonie.calls", 0, 0, 0)
    records = {
        "completed": [LogRecord(0, 0, 0, b"secret-beta", encode_completed(call), [])],
        "dead": [LogRecord(0, 0, 0, PHONE.encode(), PHONE.encode(), headers)],
    }
    monkeypatch.setattr(
        published, "Topics", MadeUpTopics(records, {(0, 0): {"key": SECRETS[1], "value": PHONE}})
    )


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients seem to be on another machine, the workers stay on one."""
    seen = property(lambda request: "127.0.0.1" if MEMBER in request.headers else "192.0.2.1")
    monkeypatch.setattr(web.BaseRequest, "remote", seen)


async def crawl(site: Site, headers: dict[str, str], refused: int | None) -> None:
    """Ask every route; `refused` is how calls are refused, None where they are shown."""
    for path in sorted(site.paths()):
        status, body = await site.ask(path, headers)
        told = [secret for secret in SECRETS if secret in body]
        wanted = CALLS.get(path, [] if path in OPEN_TO_ALL else SECRETS[:2])
        assert told == ([] if refused else wanted), (path, body)
        assert status == (refused if refused and path in CALLS else 200), path
    for path in PAGES:
        status, body = await site.ask(path, headers | {"Accept": "text/html"})
        assert (status, [secret for secret in SECRETS if secret in body]) == (200, [])


#: Pages for browsers, which ask for what they show.
PAGES = ("/", "/calls", "/calls/secret-beta", "/dead", "/dead/0:0", "/kpis")
ELSEWHERE = {"Host": "elsewhere.example.com"}
PROXIED = {"X-Forwarded-For": "192.0.2.1"}


@pytest.mark.parametrize(
    ("token", "headers", "refused"),
    [
        (None, {}, None),
        (None, ELSEWHERE, 403),
        (None, PROXIED, 403),
        (TOKEN, {}, 401),
        (TOKEN, {"Authorization": f"Bearer {TOKEN}"}, None),
        (TOKEN, {"Authorization": f"Bearer {TOKEN}"} | ELSEWHERE | PROXIED, None),
    ],
    ids=str,
)
def test_every_route_at_every_access(token: str | None, headers: dict[str, str], refused: int | None) -> None:
    async def scene(site: Site) -> None:
        await crawl(site, headers, refused)

    serve(scene, token)


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize(("token", "refused"), [(None, 403), (TOKEN, 401)])
def test_every_route_from_another_machine(token: str | None, refused: int) -> None:
    async def scene(site: Site) -> None:
        await crawl(site, {}, refused)
        if token:
            await crawl(site, {"Authorization": f"Bearer {token}"}, None)

    serve(scene, token)


def test_a_wrong_token_is_refused_wherever_it_would_matter() -> None:
    async def scene(site: Site) -> None:
        wrong = {"Authorization": f"Bearer {TOKEN}x"}
        for path in site.paths() - OPEN_TO_ALL:
            status, body = await site.ask(path, wrong)
            assert status == (200 if path == "/status" else 401)
            assert not [secret for secret in SECRETS if secret in body]

    serve(scene, TOKEN)
