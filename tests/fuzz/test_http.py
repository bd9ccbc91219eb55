"""Whatever a client sends: an answer that repeats nothing of it, or a closed connection; never a 500."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pages import MadeUpTopics, MadeUpWorker

from streams.calls.view import OpenPage, OpenSelection
from streams.settings import Settings
from streams.worker.metrics import Metrics
from streams.worker.web import WebServer, connections, published

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
SECRET = "Hush-5551234"


class Worker(MadeUpWorker):
    """Holds no call, and looks as the real one does: by the id's UTF-8."""

    def call(self, call_id: str) -> dict[str, Any] | None:
        call_id.encode()
        return None

    async def open_calls(self, _selection: OpenSelection, _limit: int) -> OpenPage:
        return OpenPage([], [0] * 7)

    def longest(self) -> list[dict[str, Any]]:
        return []


@contextmanager
def served(token: str | None) -> Iterator[int]:
    """The port of a server in a thread of its own."""
    loop = asyncio.new_event_loop()
    given = Settings(http_port=0, api_token=token)
    worker = Worker()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "Topics", MadeUpTopics({"completed": [], "dead": []}))
        server = WebServer(given, Metrics(given), worker, worker)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(30)
    try:
        yield int(server.address.rsplit(":", 1)[1])
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@pytest.fixture(scope="module", params=[None, "right-token"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch, served(request.param) as found:
        patch.setattr(connections, "HEAD_SECONDS", 0.2)
        yield found


def exchange(port: int, request: bytes) -> bytes:
    """What is answered: the head and what comes with it, or nothing when the connection is closed."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), 20) as connection, suppress(ConnectionError):
        connection.sendall(request)
        while b"\r\n\r\n" not in found and (more := connection.recv(65536)):
            found += more
    return found


METHODS = [b"GET", b"HEAD", b"POST", b"OPTIONS", b"TRACE", b"CONNECT", b"BREW", b"get", b"", b"G\xc3\x89T"]
PATHS = [
    b"/", b"/live", b"/ready", b"/metrics", b"/calls", b"/calls/", b"/status", b"/events", b"*", b"//", b"/..%2fetc",
    b"/calls/../../etc/passwd", b"/calls/%00", b"/calls/%ff%fe", b"/calls/%ed%a0%80", b"/calls/" + b"x" * 9000,
    b"/calls?limit=%31", b"/calls?status=ringing&status=x", b"/calls?older_than=-1s", b"/calls?limit=" + b"9" * 400,
    b"/dead", b"/dead/0:1", b"/dead/1:x", b"/dead?since=9", b"/dead?partition=%00", b"/completed/%ed%a0%80",
    b"/completed/x?before=1:" + b"9" * 400, b"/kpis?span=9h", b"/kpis?since_ms=1&slot_ms=0", b"/openapi.json",
    b"http://evil.example.com/calls", b"http://[::1/calls", b"/calls?" + b"a=b&" * 500, b"/calls/" + SECRET.encode(),
]  # fmt: skip
HEADERS = [
    b"Host: localhost", b"Host: [::bad", b"Host: a b", b"Host:", b"Host: \xff", b"Authorization: Bearer right-token",
    b"Authorization: Bearer " + SECRET.encode(), b"Authorization: \xff\xfe", b"Authorization: Bearer", b"Accept: \x00",
    b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked",
    b"Content-Encoding: gzip", b"Expect: 100-continue", b"Expect: x", b"Upgrade: websocket", b"Connection: Upgrade",
    b"Connection: close", b"Accept: application/openmetrics-text", b"Telefonie-Member: me", b"Telefonie-Member: other",
    b"X-Forwarded-For: 1", b"Range: bytes=0-1", b"If-None-Match: *", b"X: " + b"x" * 9000, b": x", b" folded",
]  # fmt: skip
lines = st.builds(
    lambda method, path, version: b" ".join((method, path, version)),
    st.sampled_from(METHODS),
    st.sampled_from(PATHS) | st.binary(max_size=20).map(lambda end: b"/calls/" + end),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 x", b""]),
)
requests = st.builds(
    lambda line, said, body: b"\r\n".join([line, *said, b"", body]),
    lines,
    st.lists(st.sampled_from(HEADERS) | st.binary(max_size=30), max_size=6),
    st.binary(max_size=20) | st.just(b"5\r\nhello\r\n0\r\n\r\n"),
)


@settings(max_examples=EXAMPLES)
@given(requests | st.binary(max_size=100))
def test_every_request_has_an_answer_of_ours(port: int, request: bytes) -> None:
    answered = exchange(port, request)
    if not answered:
        return
    head, _, body = answered.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/[12]\.[01] (\d{3}) ", head)
    assert found, answered
    status = int(found[1])
    assert status != 500
    assert b"\r\nServer: telefonie" in head or status == 100
    if status >= 400:
        assert b"application/problem+json" in head
    assert SECRET.encode() not in answered
    assert b"Traceback" not in body


@pytest.mark.parametrize("token", [None, "right-token"])
def test_what_cannot_be_read_is_not_logged(token: str | None, caplog: pytest.LogCaptureFixture) -> None:
    with served(token) as port, caplog.at_level(logging.DEBUG):
        for request in (
            b"GET /live HTTP/1.1\r\nAuthorization: Bearer " + SECRET.encode() * 1000 + b"\r\n\r\n",
            SECRET.encode() + b"\r\n\r\n",
            b"GET /" + SECRET.encode() + b"\xff HTTP/1.1\r\n\r\n",
        ):
            assert b" 400 " in exchange(port, request)
    assert SECRET not in caplog.text


def test_a_client_has_to_say_what_it_wants_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its connection on, and from the first byte of each further request; one that is answered may stay."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1.0)
    whole = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
    with served(None) as port:
        for sent in (b"", b"GET /li"):
            with socket.create_connection(("127.0.0.1", port), 20) as connection:
                connection.sendall(sent)
                assert connection.recv(4096) == b""
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            for _ in range(2):
                connection.sendall(whole)
                assert b" 200 OK" in connection.recv(4096)
                time.sleep(1.3)
            connection.sendall(whole[:10])
            assert connection.recv(4096) == b""
