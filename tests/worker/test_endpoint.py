"""Where a worker listens, and querying it from outside."""

from __future__ import annotations

import socket
import threading

import pytest

from streams.settings import Settings
from streams.worker.endpoint import NoAnswerError, get, is_wildcard, local_url, url_of


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("0.0.0.0", True),
        ("::", True),
        ("0:0:0:0:0:0:0:0", True),
        ("::ffff:0.0.0.0", True),
        ("", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("worker-0.example.com", False),
    ],
)
def test_what_listens_on_all_addresses(host: str, wanted: bool) -> None:
    assert is_wildcard(host) is wanted


@pytest.mark.parametrize(
    ("bind", "wanted"),
    [
        ("0.0.0.0", "http://127.0.0.1:7"),
        ("::", "http://[::1]:7"),
        ("::1", "http://[::1]:7"),
        ("127.0.0.2", "http://127.0.0.2:7"),
        ("w-0", "http://w-0:7"),
    ],
)
def test_where_a_worker_is_on_its_own_machine(bind: str, wanted: str) -> None:
    assert local_url(Settings(http_bind=bind, http_port=7)) == wanted


def answering(sent: bytes) -> str:
    """The URL of a server that sends this to the first who asks, and hangs up."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server, server.accept()[0] as connection:
            connection.recv(65_536)
            connection.sendall(sent)

    threading.Thread(target=serve, daemon=True).start()
    return url_of("127.0.0.1", server.getsockname()[1])


def test_an_answer_is_its_status_and_its_body() -> None:
    url = answering(b"HTTP/1.1 503 Not now\r\nContent-Length: 2\r\n\r\nno")
    assert get(url, "/ready", seconds=5) == (503, b"no")


@pytest.mark.parametrize(
    "sent", [b"", b"220 mail.example.com ESMTP\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"]
)
def test_what_speaks_no_http_does_not_answer(sent: bytes) -> None:
    with pytest.raises(NoAnswerError) as raised:
        get(answering(sent), "/", seconds=5)
    assert str(raised.value)


@pytest.mark.parametrize(
    "url", ["", "w-0:6066", "file:///etc/passwd", "http://", "http://w-0:port", "http://w-0:99999"]
)
def test_what_is_no_url_is_not_asked(url: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)port|url"):
        get(url, "/", seconds=5)
