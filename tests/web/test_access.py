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
from support.pages import PHONE, MadeUpWorker

from streams.calls.view import OpenSelection
from streams.engine.members import Member
from streams.metrics import Metrics
from streams.settings import Settings
from streams.web import WebServer
from streams.web.group import MEMBER

TOKEN = "s3cret-token="
PARTITIONS = {"alpha": [0, 2], "beta": [1, 3]}
#: What of each route is only for those who may see call data; nothing of it where a route serves everybody alike.
SECRETS = ["secret-alpha", "secret-beta", PHONE]
OPEN_TO_ALL = {"/", "/page.css", "/page.js", "/icon.svg", "/live", "/ready", "/metrics"}


class Holder(MadeUpWorker):
    """Holds one call, which is also its longest open one."""

    @property
    def id(self) -> str:
        return f"secret-{self.member_id}"

    def call(self, call_id: str) -> dict[str, Any] | None:
        return {"id": self.id, "from": PHONE} if call_id == self.id else None

    async def open_calls(self, _: OpenSelection, limit: int) -> tuple[list[dict[str, Any]], int]:  # noqa: ARG002
        return [{"id": self.id, "from": PHONE, "opened_at": "2026-11-25T00:00:00.000Z"}], 1

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
        return {path.replace("{id}", "secret-beta") for path in found}

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
        if path in OPEN_TO_ALL:
            wanted: list[str] = []
        elif path == "/calls/secret-beta":
            wanted = ["secret-beta", PHONE]
        else:
            wanted = SECRETS if path == "/calls" else SECRETS[:2]
        assert told == ([] if refused else wanted), (path, body)
        assert status == (refused if refused and path.startswith("/calls") else 200), path


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
        await crawl(site, headers | {"Accept": "text/html, application/json;q=0.9"}, refused)

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
