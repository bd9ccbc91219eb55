"""The worker's own web server: is it alive, is it ready, its metrics, and the calls that it holds.

It lives in the worker's event loop, so an answer from `/live` shows that the loop turns.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.openmetrics import exposition as openmetrics

from streams.errors import OperatorError
from streams.settings import PREFIX, Settings
from streams.worker.endpoint import url_of
from streams.worker.metrics import Metrics
from streams.worker.single_flight import SingleFlight
from streams.worker.web import openapi, page
from streams.worker.web.accept import preferred
from streams.worker.web.access import Access, access
from streams.worker.web.calls import CallsApi, Lookup
from streams.worker.web.connections import HEADERS, Runner, Site, trust
from streams.worker.web.group import Group, advertised
from streams.worker.web.kpis import KpisApi
from streams.worker.web.live import Live
from streams.worker.web.problems import Problem, answer
from streams.worker.web.published import PublishedApi

_log = logging.getLogger(__name__)

_INDEX: Final = """\
/live          200 while the worker turns; 503 says what stands still
/ready         200 once partitions are assigned and their tables recovered; 503 says what is missing
/metrics       Prometheus text, or OpenMetrics when asked for
"""
_INDEX_OF_CALLS: Final = """\
/status        the workers, their partitions and how far they are
/calls         open calls of all workers, the oldest first: ?status= &country= &older_than= &limit=
/calls/ID      one call, open or remembered; both are pages for a browser
/completed/ID  the revisions of a call that were published, the newest first: ?partition= &since= &before=
/dead          which records were rejected and why, the newest first: ?key= &reason= &path= &partition= &since= &before=
/dead/PLACE    one of them with what is in it, PLACE being PARTITION:OFFSET; both are pages for a browser
/kpis          KPIs by time, direction and country; a page for a browser: ?span= &direction= &country=
/openapi.json  all of this, for programs
/              for a browser: the live page
"""
_LONGEST_BODY: Final = 1024  # bytes; no request needs one
_LAST_ANSWERS: Final = 1.0  # seconds


_PROMETHEUS: Final = exposition.CONTENT_TYPE_PLAIN_0_0_4
_OPENMETRICS: Final = openmetrics.CONTENT_TYPE_LATEST
_WRITERS: Final[dict[str, Callable[[CollectorRegistry], bytes]]] = {
    _PROMETHEUS: exposition.generate_latest,
    _OPENMETRICS: openmetrics.generate_latest,
}
#: However many scrape, the metrics are written down for a tenth of the time at most.
_REST: Final = 9.0


class Health(Protocol):
    """Who knows how the worker is. Each answer lists problems, a line each; none when all is well."""

    def live(self) -> list[str]:
        """Why the worker should be restarted."""

    def ready(self) -> list[str]:
        """Why the worker processes nothing yet."""

    def remarks(self) -> list[str]:
        """What is wrong around a worker that is ready itself."""


class WebServer:
    """Serves HTTP on `http_bind`:`http_port`, between `start` and `stop`."""

    def __init__(
        self, settings: Settings, metrics: Metrics, health: Health, lookup: Lookup | None = None
    ) -> None:
        """Without a `lookup` nothing is said about any call."""
        self._settings, self._metrics, self._health, self._lookup = settings, metrics, health, lookup
        self._exposed = {kind: SingleFlight(partial(self._written, kind), times=_REST) for kind in _WRITERS}
        app = web.Application(middlewares=[self._finish], client_max_size=_LONGEST_BODY)
        app.on_response_prepare.append(_add_headers)
        app.add_routes(
            [
                web.get("/live", self._live),
                web.get("/ready", self._ready),
                web.get("/metrics", self._expose),
            ]
        )
        if lookup is None:
            app.router.add_get("/", _index)
        else:
            self._add_calls(app, lookup)
        self._runner = Runner(app, shutdown_timeout=_LAST_ANSWERS)

    def _add_calls(self, app: web.Application, lookup: Lookup) -> None:
        """What takes someone who holds calls: the routes of calls, and the live page."""
        group = Group(self._settings, lookup)
        live = Live(self._settings, lookup, group)
        app.add_routes(CallsApi(self._settings, lookup, group).routes())
        published = PublishedApi(self._settings, lookup)
        app.add_routes(published.routes())
        app.add_routes(KpisApi(self._settings, lookup, group).routes())
        app.add_routes([*live.routes(), *openapi.routes(), *page.routes(_INDEX + _INDEX_OF_CALLS)])

        async def stop(_: web.Application) -> None:
            await live.stop()
            await published.stop()
            await group.stop()

        app.on_shutdown.append(stop)

    async def start(self) -> None:
        """Listen; OperatorError when the address is not free."""
        bind, port = self._settings.http_bind, self._settings.http_port
        await self._runner.setup()
        try:
            await Site(self._runner, bind, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise _cannot_listen(error, bind, port) from None

    async def stop(self) -> None:
        """Close the port and give requests that are under way a second to end."""
        await self._runner.cleanup()

    @property
    def advertised(self) -> str:
        """Where other workers reach it, as a URL. Only between `start` and `stop`."""
        return advertised(self._settings, self.address)

    @property
    def address(self) -> str:
        """Where it listens, with the true port: `http://127.0.0.1:6066`. Only between `start` and `stop`."""
        host, port = self._runner.addresses[0][:2]
        return url_of(host, port)

    async def _live(self, _: web.Request) -> web.Response:
        return _verdict(self._health.live())

    async def _ready(self, _: web.Request) -> web.Response:
        return _verdict(self._health.ready(), self._health.remarks())

    async def _expose(self, request: web.Request) -> web.Response:
        kinds = {kind.partition(";")[0]: kind for kind in _WRITERS}
        kind = kinds[preferred(request.headers.get("Accept", ""), tuple(kinds))]
        return web.Response(body=await self._exposed[kind].get(), headers={"Content-Type": kind})

    async def _written(self, kind: str) -> bytes:
        if self._lookup is not None:
            await self._lookup.survey()
        # In the loop, where the metrics are at rest: it takes two milliseconds.
        return _WRITERS[kind](self._metrics.registry)

    @web.middleware
    async def _finish(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every failure gets the same shape."""
        try:
            if access(request, self._settings.api_token) is Access.GRANTED:
                trust(request)
            return await handler(request)
        except Problem as problem:
            response = answer(problem.status, problem.detail, problem.members)
            response.headers.update(problem.headers)
        except web.HTTPException as error:
            response = answer(error.status)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except Exception:
            _log.exception("a request to the web server failed, the worker goes on: report the traceback")
            response = answer(HTTPStatus.INTERNAL_SERVER_ERROR)
        return response


async def _index(_: web.Request) -> web.Response:
    return web.Response(text=_INDEX)


def _verdict(problems: list[str], remarks: Sequence[str] = ()) -> web.Response:
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return web.Response(
        status=status, text="".join(f"{line}\n" for line in [*(problems or ["ok"]), *remarks])
    )


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    cached = response.headers.get("Cache-Control")
    response.headers.update(HEADERS | ({"Cache-Control": cached} if cached else {}))


def _cannot_listen(error: OSError, bind: str, port: int) -> OperatorError:
    if error.errno == errno.EADDRINUSE:
        return OperatorError(
            f"{PREFIX}HTTP_PORT: port {port} of {bind} is in use; stop what listens there, "
            "or set another port (0 takes any free one)"
        )
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return OperatorError(
        f"the web server cannot listen on port {port} of {bind} ({reason}): "
        f"change {PREFIX}HTTP_BIND or {PREFIX}HTTP_PORT"
    )
