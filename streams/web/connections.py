"""Connections within bounds, whose failures have our shape also where no request could be read.

aiohttp answers what is no HTTP by itself: with its version, and with a part of what came, which is in the log too. And
it waits for the rest of a request for ever.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from streams.web.problems import answer

_log = logging.getLogger(__name__)

HEAD_SECONDS: Final = 10.0
"""So long a client may take to say what it wants: from its connection, or its first byte, to the end of the head."""

IDLE_SECONDS: Final = 75.0
"""So long a connection is kept after an answer, also with a part of the next request sent along with the former one."""

MOST: Final = 256
"""Connections at a time: what more come are closed at once, so that Kafka's can always be made."""

HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "telefonie"}
"""What every answer has."""


class Runner(web.AppRunner):
    """Runs an application on such connections."""

    __slots__ = ()

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(app, access_log=None, keepalive_timeout=IDLE_SECONDS, **options)

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server
        return server


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    __slots__ = ("_head",)
    _head: asyncio.TimerHandle | None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._head = None
        super().connection_made(transport)
        if self._manager is not None and len(self._manager.connections) > MOST:
            self.force_close()
        else:
            self._watch_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._has_request():
            self._forget_head()
        elif self._head is None:
            self._watch_head()

    def _has_request(self) -> bool:
        return self._current_request is not None or bool(self._messages)

    def _watch_head(self) -> None:
        self._head = self._loop.call_later(HEAD_SECONDS, self._give_up)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        if not self._has_request():
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """The answer where no application could give one; it repeats nothing of the request."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("a request to the web server failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of another answer has been sent")
        response = answer(status)
        response.headers.update(HEADERS)
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """As aiohttp's; what it refuses by itself before our code is asked (an `Expect`) gets our shape."""
        if isinstance(resp, web.HTTPException):
            resp = answer(resp.status)
        return await super().finish_response(request, resp, start_time)
