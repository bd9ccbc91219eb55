"""A fake worker behind a real web server: for the live page, whose figures it moves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import cos, sin
from typing import Any

from streams.calls.kpis import Kpis, KpiSelection
from streams.calls.view import OpenPage, OpenSelection
from streams.engine.members import Member
from streams.kafka.reading import LogRecord
from streams.settings import Settings
from streams.worker.metrics import Metrics
from streams.worker.web import WebServer
from streams.worker.web.look import Look, Wanted

PHONE = "+12125550123"
MINUTE = 60_000


def _read(seconds: float) -> int:
    """The records read by then, at a rate that goes up and down."""
    return int(40 * seconds - 56 * cos(seconds / 7) - 9 * cos(seconds / 1.7) + 65)


def _window(n: int) -> dict[str, int]:
    return {
        "attempts": 100 + n,
        "completed": 60 + n % 7,
        "busy": 9,
        "no_answer": 14,
        "failed": 6,
        "canceled": 8,
        "timed_out": 3,
        "answered": 62 + n % 7,
        "human": 50,
        "machine": 4,
        "talk_ms": (62 + n % 7) * (95_000 + 4_000 * (n % 5)),
        "ring_ms": 700_000,
    }


@dataclass
class MadeUpWorker:
    """Reads about 40 records a second on each of its partitions, since it was made."""

    partitions: list[int] = field(default_factory=lambda: [0, 1, 2, 3])
    of: int = 4
    member_id: str = "me"
    address: str = "http://127.0.0.1:6066"
    group: list[Member] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    restoring: dict[int, int] = field(default_factory=dict)
    #: So often has it been looked at.
    looks: int = 0
    began: float = field(default_factory=time.time)

    def live(self) -> list[str]:
        return []

    def ready(self) -> list[str]:
        return self.reasons

    def remarks(self) -> list[str]:
        return []

    async def unsure(self) -> list[str]:
        return self.reasons

    async def members(self) -> tuple[str, list[Member]]:
        return self.member_id, self.group

    def holds(self) -> tuple[list[int], int]:
        return self.partitions, self.of

    def waiting(self) -> int:
        return 0

    def call(self, call_id: str) -> dict[str, Any] | None:
        return {"id": call_id, "from": PHONE}

    async def open_calls(self, _: OpenSelection, limit: int) -> OpenPage:  # noqa: ARG002
        call = {"id": "a-call", "from": PHONE, "opened_at": "2026-11-25T00:00:00.000Z"}
        return OpenPage([call], [0, 0, 0, 0, 0, 0, 1])

    async def kpis(self, _: KpiSelection) -> Kpis:
        return Kpis.nothing()

    async def survey(self) -> None:
        pass

    def longest(self) -> list[dict[str, Any]]:
        now = int(time.time() * 1000)
        return [
            {
                "id": f"0b6f1c1e-8f2e-4d0b-9a41-3d5c3f0f4d{n:02d}",
                "status": "in-progress",
                "since": now - ago * 1000,
            }
            for n, ago in enumerate((19_500, 7_300, 4_100, 1_250, 610))
        ]

    def status(self) -> dict[str, Any]:
        self.looks += 1
        now = time.time()
        read = _read(now - self.began)
        last = int(now * 1000) // MINUTE * MINUTE
        return {
            "app_id": "telefonie-calls",
            "address": self.address,
            "live": [],
            "ready": self.reasons,
            "of": self.of,
            "oldest_open": int((now - 19_500) * 1000),
            "partitions": [self._partition(number, read, now) for number in self.partitions],
            "rejected": {"schema": 31 + read // 90, "malformed": 4, "too-late": 2} if self.partitions else {},
            "closed": {"completed": 48_210 + read // 5, "busy": 5_120, "no-answer": 8_004, "failed": 3_310},
            "timed_out": 311,
            "dead": [
                {"reason": reason, "partition": n, "offset": 70_433 + n, "at": int((now - 40 * n) * 1000)}
                for n, reason in enumerate(("schema", "malformed", "schema", "too-late"))
            ],
            "window_ms": MINUTE,
            "open": {"queued": 14, "ringing": 96 + read % 9, "in-progress": 412},
            "windows": {str(last - (14 - n) * MINUTE): _window(n) for n in range(15)},
        }

    def _partition(self, number: int, read: int, now: float) -> dict[str, Any]:
        if number in self.restoring:
            left = {"recovery_remaining": self.restoring[number]}
            return {"number": number, "committed": None, "end": None, "calls": 0, "stream_time": -1, **left}
        return {
            "number": number,
            "committed": read,
            "end": read + int(3 * (2 + number) * (1 + sin(now / 3 + number))),
            "recovery_remaining": 0,
            "calls": 16_400 + number,
            "stream_time": int(now * 1000) - 120,
            "age": 0.06 + 0.02 * number,
            "read": 91_000 + read,
        }


class MadeUpTopics:
    """Topics that exist nowhere, in place of `streams.worker.web.topics.Topics`; all in pieces of two records."""

    def __init__(
        self, records: dict[str, list[LogRecord]], ones: dict[tuple[int, int], Any] | None = None
    ) -> None:
        """The records of each kind of topic, `completed` and `dead`, in order; and what is answered about single
        letters."""
        self.records, self.ones = records, ones or {}

    def __call__(self, *_: object) -> MadeUpTopics:
        return self

    async def look(self, wanted: Wanted[Any], answer: Callable[[Look[Any]], bytes]) -> bytes:
        """Two records before a place."""
        lying = self.records[wanted.topic.rpartition(".")[2]]
        end = (wanted.before or {}).get(0, len(lying))
        piece = [each for each in lying[max(0, end - 2) : end] if not wanted.keys or each.key in wanted.keys]
        found = [each for each in map(wanted.match, reversed(piece)) if each is not None]
        back_to = min((each.timestamp for each in lying[max(0, end - 2) : end]), default=None)
        seen = {} if back_to is None else {0: back_to}
        return answer(Look(found, {0: end - 2} if end > 2 else {}, seen, [0], 1))

    async def stop(self) -> None:
        """There is nothing to close."""

    async def read(self, _: str, job: partial[Any]) -> Any:
        """What is answered about the place that the job is about."""
        return self.ones.get(job.args[0])


class Site:
    """Its web server, in a thread of its own; it can be stopped and started again on the same port."""

    def __init__(self, worker: MadeUpWorker, **values: object) -> None:
        self.worker = worker
        self._values = values
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._port = 0
        self.start()

    def start(self) -> None:
        """Listen, where it did before."""
        settings = Settings(http_port=self._port, **self._values)  # type: ignore[arg-type]
        self._server = WebServer(settings, Metrics(settings), self.worker, self.worker)
        self._do(self._server.start())
        self.url = self._server.address
        self._port = int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """Close the port."""
        self._do(self._server.stop())

    def close(self) -> None:
        """End the thread."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _do(self, work: Any) -> None:
        done: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        done.result(30)


@contextmanager
def watched(
    browser: Any, url: str, path: str, *, token: str | None = None, console: bool = False, **options: Any
) -> Iterator[Any]:
    """A page of the worker at `url`, which has the `token`; `options` are those of a browser's context.

    Its `complaints` are its errors and what it has asked of others; with `console` the errors in its console too, where
    every answer but 200 is one.
    """
    context = browser.new_context(**options)
    if token is not None:
        context.add_init_script(f"sessionStorage.setItem('token', '{token}')")
    page = context.new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    if console:
        page.on("console", lambda said: said.type == "error" and page.complaints.append(said.text))
    page.on(
        "request", lambda asked: asked.url.startswith((url, "blob:")) or page.complaints.append(asked.url)
    )
    page.goto(url + path)
    yield page
    context.close()


@contextmanager
def site(worker: MadeUpWorker | None = None, **values: object) -> Iterator[Site]:
    """A site that is closed at the end."""
    made = Site(worker or MadeUpWorker(), **values)
    try:
        yield made
    finally:
        made.close()
