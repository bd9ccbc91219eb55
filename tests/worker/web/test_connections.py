"""Strangers that hold connections, against a real server: they keep nobody from it."""

from __future__ import annotations

import resource
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle

import pytest
from support.pages import MadeUpWorker, Site, site

from streams.engine.members import Member
from streams.worker.web import connections, live

pytestmark = pytest.mark.alone

TOKEN = "s3cret-token="
PROBES = ("/live", "/ready", "/metrics")
STRANGERS = 1_000


def request(path: str, *headers: str, method: str = "GET") -> bytes:
    """A request's head."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: worker", *headers, "", ""]).encode()


#: What a stranger sends first, and then, a piece every now and again; none of them ever reads.
KINDS: list[tuple[bytes, bytes]] = [
    (b"", b""),
    (b"GET /li", b"v"),
    (b"GET /live HTTP/1.1\r\n", b"A: b\r\n"),
    (request("/live", "Content-Length: 1000000", method="POST"), b"x"),
    (request("/live"), b""),
    (request("/metrics") * 8, request("/metrics")),
    (request("/events"), b""),
    (request("/status") * 8, b""),
]


@dataclass
class Strangers:
    """Connections that are opened again when they are dropped, until `stopped`."""

    port: int
    kinds: list[tuple[bytes, bytes]]
    number: int
    stopped: threading.Event = field(default_factory=threading.Event)
    opened: int = 0

    def run(self) -> None:
        """All of them, a piece from each in turn."""
        kinds = cycle(self.kinds)
        held: list[tuple[socket.socket, bytes]] = []
        while not self.stopped.is_set():
            with suppress(OSError):
                held.append(self._open(*next(kinds)))
            # A flood of new connections would cost the server its time, whatever became of them.
            self.stopped.wait(0.001 if self.opened < self.number else 0.01)
            if len(held) >= self.number:
                kept = [each for each in held if _sends(*each)]
                if len(kept) == len(held):
                    kept.pop(0)[0].close()
                held = kept
        for connection, _ in held:
            connection.close()

    def _open(self, first: bytes, piece: bytes) -> tuple[socket.socket, bytes]:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.settimeout(2)
        connection.connect(("127.0.0.1", self.port))
        connection.setblocking(False)
        self.opened += 1
        with suppress(BlockingIOError):
            connection.send(first)
        return connection, piece


def _sends(connection: socket.socket, piece: bytes) -> bool:
    """Send a piece; whether the connection is still there."""
    try:
        connection.send(piece)
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        connection.close()
        return False


@contextmanager
def strangers(where: Site, kinds: list[tuple[bytes, bytes]], number: int = STRANGERS) -> Iterator[Strangers]:
    """Strangers that have opened their connections."""
    made = Strangers(int(where.url.rpartition(":")[2]), kinds, number)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    give_up = time.monotonic() + 30
    while made.opened < number:
        assert time.monotonic() < give_up, f"only {made.opened} connections could be opened"
        time.sleep(0.01)
    try:
        yield made
    finally:
        made.stopped.set()
        thread.join(30)


@pytest.fixture(autouse=True)
def _files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def probe(where: Site, path: str, seconds: float = 1.0, **headers: str) -> float:
    """Ask as a probe does, by a connection of its own; how long it took. Raises when there is no answer in time."""
    begun = time.monotonic()
    asked = urllib.request.Request(where.url + path, headers=headers)
    with urllib.request.urlopen(asked, timeout=seconds) as answer:
        assert answer.status == 200
        answer.read()
    return time.monotonic() - begun


@pytest.mark.parametrize("kinds", [KINDS, KINDS[:1], KINDS[1:3], KINDS[5:6], KINDS[6:7]],
                         ids=["all", "idle", "slow to ask", "slow to read", "watching"])  # fmt: skip
def test_probes_are_answered_however_many_strangers_hold_connections(
    kinds: list[tuple[bytes, bytes]],
) -> None:
    with site(api_token=TOKEN) as made, strangers(made, kinds):
        times = sorted(probe(made, path, seconds=5) for _ in range(15) for path in PROBES)
    # Within a second but for a few: this process is the strangers too, and the machine may be busy.
    assert times[-5] < 1, times


def test_who_has_the_token_keeps_the_connection() -> None:
    with site(api_token=TOKEN) as made:
        port = int(made.url.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port), 5) as kept,
            socket.create_connection(("127.0.0.1", port), 5) as lost,
        ):
            kept.sendall(request("/live", f"Authorization: Bearer {TOKEN}"))
            lost.sendall(request("/live"))
            assert b"200 OK" in kept.recv(4096)
            assert b"200 OK" in lost.recv(4096)
            with strangers(made, KINDS):
                with suppress(ConnectionError):
                    assert lost.recv(4096) == b""
                kept.sendall(request("/live"))
                assert b"200 OK" in kept.recv(4096)


def test_the_oldest_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 3)
    with site(api_token=TOKEN) as made:
        port = int(made.url.rpartition(":")[2])
        held = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(3)]
        for each in held[1:] + held[:1]:
            each.sendall(request("/live"))
            assert b"200 OK" in each.recv(4096)
        probe(made, "/live")
        with suppress(ConnectionError):
            assert held[0].recv(4096) == b""
        for each in held[1:]:
            each.sendall(request("/live"))
            assert b"200 OK" in each.recv(4096)
        for each in held:
            each.close()


def test_strangers_that_watch_leave_room_for_those_with_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_MOST_WATCHERS", {True: 1, False: 2})
    with site(api_token=TOKEN) as made:
        port = int(made.url.rpartition(":")[2])

        def watch(*headers: str) -> tuple[socket.socket, bytes]:
            connection = socket.create_connection(("127.0.0.1", port), 5)
            connection.sendall(request("/events", *headers))
            return connection, connection.recv(4096).partition(b"\r\n")[0]

        token = f"Authorization: Bearer {TOKEN}"
        held = [watch(), watch(), watch(), watch(token), watch(token)]
        assert [line.split()[1] for _, line in held] == [b"200", b"200", b"503", b"200", b"503"]
        for connection, _ in held:
            connection.close()


def _counted(worker: MadeUpWorker, count: Callable[[str], None]) -> MadeUpWorker:
    members, status = worker.members, worker.status

    async def counted() -> tuple[str, list[Member]]:
        count("members")
        return await members()

    worker.members = counted  # type: ignore[method-assign]
    worker.status = lambda: count("status") or status()  # type: ignore[method-assign,func-returns-value]
    return worker


def test_strangers_that_ask_for_the_status_ask_the_group_once_a_second() -> None:
    asked: list[str] = []
    other = MadeUpWorker(member_id="other")
    worker = _counted(MadeUpWorker(), lambda what: what == "members" and asked.append("group"))
    with site(
        _counted(other, lambda what: what == "status" and asked.append("other")), api_token=TOKEN
    ) as there:
        with site(worker, api_token=TOKEN) as here:
            worker.group = [Member("me", here.url, []), Member("other", there.url, [])]
            begun = time.monotonic()
            for _ in range(60):
                probe(here, "/status")
            seconds = time.monotonic() - begun
            assert 1 <= asked.count("group") == asked.count("other") <= seconds + 1
            asked.clear()
            for _ in range(3):
                probe(here, "/status", Authorization=f"Bearer {TOKEN}")
            assert asked.count("other") == 3
