"""The health check of containers, against the worker's own web server."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest


class Worker(BaseHTTPRequestHandler):
    """Lives, and is not ready."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200 if self.path == "/live" else 503)
        self.end_headers()
        self.wfile.write(b"ok\n" if self.path == "/live" else b"a rebalance is under way\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Not to the terminal."""


@contextmanager
def serving() -> Iterator[int]:
    """The port of a worker that runs meanwhile."""
    with HTTPServer(("127.0.0.1", 0), Worker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def probe(port: int, *args: str, bind: str = "0.0.0.0") -> tuple[int, str]:
    """The exit code of the health check, and what it says."""
    env = {**os.environ, "TELEFONIE_HTTP_BIND": bind, "TELEFONIE_HTTP_PORT": str(port)}
    done = subprocess.run(
        [sys.executable, "-m", "streams.worker.probe", *args],
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("bind", ["0.0.0.0", "127.0.0.1", "localhost"])
def test_a_worker_that_lives_is_healthy(bind: str) -> None:
    with serving() as port:
        assert probe(port, bind=bind) == (0, "")
        assert probe(port, "/live", bind=bind) == (0, "")


def test_a_worker_that_is_not_ready_says_why() -> None:
    with serving() as port:
        assert probe(port, "/ready") == (1, "a rebalance is under way\n")


def test_where_no_worker_answers_it_is_said_where_it_was_looked_for() -> None:
    with serving() as port:
        pass
    code, said = probe(port)
    assert code == 1
    assert said.startswith(
        f"no worker answers at http://127.0.0.1:{port} (TELEFONIE_HTTP_BIND, TELEFONIE_HTTP_PORT): "
    )
    assert said.count("\n") == 1
