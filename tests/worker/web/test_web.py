"""The web server of a worker, over real sockets, with a made-up health."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from streams.errors import OperatorError
from streams.settings import Settings
from streams.worker.metrics import Metrics, Sample
from streams.worker.web import WebServer

PHONE = "+12125550123"


@dataclass
class Health:
    faults: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    around: list[str] = field(default_factory=list)

    def live(self) -> list[str]:
        return self.faults

    def ready(self) -> list[str]:
        return self.missing

    def remarks(self) -> list[str]:
        return self.around


class Broken:
    def sample(self) -> Sample:
        raise RuntimeError(PHONE)


@dataclass
class Site:
    """A running server, and a way to ask it."""

    server: WebServer
    metrics: Metrics
    health: Health
    client: aiohttp.ClientSession

    async def ask(
        self, path: str, method: str = "GET", **options: object
    ) -> tuple[aiohttp.ClientResponse, str]:
        async with self.client.request(method, self.server.address + path, **options) as response:  # type: ignore[arg-type]
            return response, await response.text()


def serve(scene: Callable[[Site], Awaitable[None]], **values: object) -> None:
    """Run a scene against a server on a free port."""

    async def run() -> None:
        settings = Settings(http_port=0, **values)  # type: ignore[arg-type]
        metrics, health = Metrics(settings), Health()
        server = WebServer(settings, metrics, health)
        await server.start()
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as client:
                await scene(Site(server, metrics, health, client))
        finally:
            await server.stop()

    asyncio.run(run())


@pytest.mark.parametrize(("path", "attribute"), [("/live", "faults"), ("/ready", "missing")])
def test_health_is_200_or_503_with_a_line_for_each_reason(path: str, attribute: str) -> None:
    async def scene(site: Site) -> None:
        response, text = await site.ask(path)
        assert (response.status, text) == (200, "ok\n")
        setattr(site.health, attribute, ["partition 2 is recovering", "no fetch for 40 s"])
        response, text = await site.ask(path)
        assert (response.status, text) == (503, "partition 2 is recovering\nno fetch for 40 s\n")
        assert response.content_type == "text/plain"
        assert response.headers["Cache-Control"] == "no-store"
        setattr(site.health, attribute, [])
        assert (await site.ask(path))[0].status == 200

    serve(scene)


def test_what_is_wrong_around_a_ready_worker_is_named_and_it_stays_ready() -> None:
    async def scene(site: Site) -> None:
        site.health.around = ["1 record waits behind a transaction"]
        response, text = await site.ask("/ready")
        assert (response.status, text) == (200, "ok\n1 record waits behind a transaction\n")
        assert (await site.ask("/live"))[1] == "ok\n"

    serve(scene)


def test_metrics_are_prometheus_text_unless_openmetrics_is_asked_for() -> None:
    async def scene(site: Site) -> None:
        site.metrics.rebalanced()
        for accept in ("", "*/*", "text/plain", "garbage;version=;;"):
            response, text = await site.ask("/metrics", headers={"Accept": accept})
            assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            families = {family.name: family for family in parse(text)}
            assert families["telefonie_rebalances"].samples[0].value == 1
        accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        response, text = await site.ask("/metrics", headers={"Accept": accept})
        assert response.headers["Content-Type"] == (
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        )
        families = {family.name: family for family in parse_openmetrics(text)}
        assert families["telefonie_rebalances"].samples[0].value == 1

    serve(scene)


def test_the_index_names_the_endpoints() -> None:
    async def scene(site: Site) -> None:
        response, text = await site.ask("/")
        assert response.status == 200
        for line in text.splitlines():
            assert (await site.ask(line.split()[0]))[0].status == 200

    serve(scene)


@pytest.mark.parametrize("path", ["/table", f"/calls/{PHONE}", "/metrics/", "/../etc/passwd", "//", "/%00"])
def test_everything_else_is_a_problem_that_repeats_nothing(path: str) -> None:
    async def scene(site: Site) -> None:
        response, _ = await site.ask(path)
        assert response.status == 404
        assert response.content_type == "application/problem+json"
        assert await response.json() == {"type": "about:blank", "title": "Not Found", "status": 404}
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Server"] == "telefonie"

    serve(scene)


@pytest.mark.parametrize("path", ["/", "/live", "/ready", "/metrics"])
def test_reading_is_all_that_is_allowed(path: str) -> None:
    async def scene(site: Site) -> None:
        got, _ = await site.ask(path)
        head, nothing = await site.ask(path, "HEAD")
        assert (head.status, head.headers["Content-Type"], nothing) == (200, got.headers["Content-Type"], "")
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            response, _ = await site.ask(path, method, data=b"x" * 10_000)
            assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD")
            assert response.content_type == "application/problem+json"

    serve(scene)


def test_a_request_has_a_longest_head() -> None:
    async def scene(site: Site) -> None:
        response, _ = await site.ask("/live", headers={"X-Long": "x" * 20_000})
        assert response.status == 400
        response, _ = await site.ask("/live?" + "x" * 20_000)
        assert response.status == 400
        assert (await site.ask("/live"))[0].status == 200

    serve(scene)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /live HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\n\r\n", b"417"),
        (b"no http at all\r\n\r\n", b"400"),
    ],
)
def test_what_no_route_is_asked_about_is_refused_in_the_same_shape(request_: bytes, status: bytes) -> None:
    async def scene(site: Site) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(site.server.address).port)
        writer.write(request_)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.split()[1] == status
        assert b"\r\nContent-Type: application/problem+json" in head
        assert b"\r\nServer: telefonie\r\n" in head
        writer.close()

    serve(scene)


def test_a_failure_is_logged_and_the_server_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(site: Site) -> None:
        site.metrics.watch(Broken())
        response, text = await site.ask("/metrics")
        assert response.status == 500
        assert response.content_type == "application/problem+json"
        assert PHONE not in text
        assert (await site.ask("/live"))[0].status == 200

    serve(scene)
    assert [record.name for record in caplog.records if record.levelno >= logging.ERROR] == [
        "streams.worker.web.server"
    ]


def test_requests_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scene(site: Site) -> None:
        await site.ask("/live")
        await site.ask(f"/calls/{PHONE}")

    serve(scene)
    assert PHONE not in caplog.text
    assert not [
        record for record in caplog.records if record.name.startswith(("aiohttp", "streams.worker.web"))
    ]


def test_a_port_in_use_is_told_in_one_line() -> None:
    async def scene(site: Site) -> None:
        port = int(site.server.address.rpartition(":")[2])
        assert port > 0
        settings = Settings(http_port=port)
        with pytest.raises(OperatorError, match=f"^TELEFONIE_HTTP_PORT: port {port} .* in use;[^\n]*$"):
            await WebServer(settings, site.metrics, site.health).start()
        assert (await site.ask("/live"))[0].status == 200

    serve(scene)


@pytest.mark.parametrize("bind", ["192.0.2.1", "does-not-exist.example.com"])
def test_an_address_that_is_not_ours_is_told_in_one_line(bind: str) -> None:
    settings = Settings(http_bind=bind)
    with pytest.raises(OperatorError, match=f"{bind} [^\n]*TELEFONIE_HTTP_BIND"):
        asyncio.run(WebServer(settings, Metrics(settings), Health()).start())


def test_an_ipv6_address_is_written_in_brackets() -> None:
    async def scene(site: Site) -> None:
        assert site.server.address.startswith("http://[::1]:")
        assert (await site.ask("/live"))[0].status == 200

    try:
        serve(scene, http_bind="::1")
    except OperatorError:
        pytest.skip("this machine has no IPv6")


def test_stopping_waits_for_nobody_and_frees_the_port() -> None:
    async def scene(site: Site) -> None:
        await site.ask("/live")  # its connection is kept alive
        port = int(site.server.address.rpartition(":")[2])
        for head in (b"", b"GET /live HT", b"POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            await writer.drain()
        await asyncio.sleep(0.1)
        await asyncio.wait_for(site.server.stop(), 5)
        settings = Settings(http_port=port)
        again = WebServer(settings, site.metrics, site.health)
        await again.start()
        await again.stop()

    serve(scene)
