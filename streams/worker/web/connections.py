"""Connections within bounds, whose failures have our shape also where no request could be read.

aiohttp answers what is no HTTP by itself: with its version, and with a part of what came, which is in the log too. And
it waits for the rest of a request for ever, and for a client to read.

When all connections are in use, the next client gets one nevertheless: probes and Prometheus have no token, and must be
answered however many connections strangers hold open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from streams.worker.web.problems import answer

_log = logging.getLogger(__name__)

HEAD_SECONDS: Final = 10.0
"""So long a client may take to say what it wants: from its connection, or its first byte, to the end of the head."""

IDLE_SECONDS: Final = 75.0
"""So long a connection is kept after an answer, also with a part of the next request sent along with the former one."""

MOST: Final = 256
"""Connections at a time, so that Kafka's can always be made. For one more the oldest is closed."""

_QUEUE: Final = 1024
"""Connections that wait to be accepted: a burst must not make the kernel refuse a probe."""

_AT_ONCE: Final = 32
"""Connections accepted in one turn of the event loop, far fewer than `MOST`: each can say what it wants before so many
come after it that it would give way.
"""

HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "telefonie"}
"""What every answer has."""


class Runner(web.AppRunner):
    """Runs an application on such connections."""

    __slots__ = ()

    def __init__(self, app: web.Application, **options: Any) -> None:
        # Nobody works for a client that is gone.
        super().__init__(
            app, access_log=None, keepalive_timeout=IDLE_SECONDS, handler_cancellation=True, **options
        )

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server
        assert isinstance(server, _Server), "it has just become one"
        server.strangers, server.trusted = {}, {}
        return server


class Site(web.TCPSite):
    """Listens at an address for a `Runner`."""

    __slots__ = ()

    def __init__(self, runner: Runner, host: str, port: int) -> None:
        super().__init__(runner, host, port, backlog=_AT_ONCE)

    async def start(self) -> None:
        """Listen; raises OSError when the address is not available."""
        await super().start()
        assert isinstance(self._server, asyncio.Server), "it has just been started"
        for each in self._server.sockets:
            # asyncio accepts as many in one turn as may wait: the latter is raised behind its back.
            with socket.socket(fileno=os.dup(each.fileno())) as same:
                same.listen(_QUEUE)


class _Server(web.Server):
    #: Connections, the oldest first: of strangers, and of those that have asked with the right to see call data.
    strangers: dict[_Connection, None]
    trusted: dict[_Connection, None]

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def hold(self, connection: _Connection) -> None:
        """One more has been made. When it is one too many the oldest gives way.

        It does not matter what the oldest is doing: a request that takes long is one whose answer is not read, or a
        stream of events, which its page opens again.
        """
        if len(self.strangers) + len(self.trusted) >= MOST:
            oldest = next(iter(self.strangers or self.trusted))
            self.let_go(oldest)
            oldest.drop()
        self.strangers[connection] = None

    def trust(self, connection: _Connection) -> None:
        """It has asked for something with the right to see call data: it is kept before strangers."""
        if connection in self.strangers:
            del self.strangers[connection]
            self.trusted[connection] = None

    def let_go(self, connection: _Connection) -> None:
        """It has ended, or is about to."""
        self.strangers.pop(connection, None)
        self.trusted.pop(connection, None)


class _Connection(RequestHandler):
    __slots__ = ("_head", "server")
    _head: asyncio.TimerHandle | None
    server: _Server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._head = None
        assert isinstance(self._manager, _Server), "the server has made it"
        self.server = self._manager
        super().connection_made(transport)
        self.server.hold(self)
        self._watch_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.server.let_go(self)
        self._forget_head()
        super().connection_lost(exc)

    def drop(self) -> None:
        """Close it at once; what has not been sent is lost."""
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()

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
            self.drop()

    def log_exception(self, *args: Any, **options: Any) -> None:
        """What fails because the connection has ended concerns nobody."""
        if self.transport is not None:
            super().log_exception(*args, **options)

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


def trust(request: web.BaseRequest) -> None:
    """The request has the right to see call data: keep its connection before those of strangers."""
    if isinstance(request.protocol, _Connection):
        request.protocol.server.trust(request.protocol)
