"""A worker that accounts for the CPU time of its pages: `python -m benchmarks.accounted FILE` keeps it in a file.

Counted is every step of what answers a request, and of the tasks and threads that it starts: in the event loop, in the
thread that reads topics, in the threads that look at calls and KPIs, and in Kafka's thread for the confirmation that
partitions are still ours. The sockets' own work, some hundredths of a millisecond a request, is not.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp.web_protocol import RequestHandler
from aiokafka.consumer.group_coordinator import GroupCoordinator

from streams.cli import main
from streams.worker.web.connections import _Connection
from streams.worker.web.reader import THREAD, Reader

_OF_A_PAGE = contextvars.ContextVar("of a page", default=False)
_EVERY = 0.2  # seconds


class Account(NamedTuple):
    """CPU seconds of a worker since its start: of its pages by where they were spent, and of all; and seconds."""

    pages: dict[str, float]
    process: float
    seconds: float

    @classmethod
    def read(cls, file: Path) -> Account:
        """What the worker has written last."""
        return cls(*json.loads(file.read_text()))


class _Spent:
    def __init__(self) -> None:
        self.by_place = Counter[str]()
        self.readers: list[Reader] = []

    def timed(self, place: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time is counted."""

        @wraps(work)
        def counted(*args: Any, **options: Any) -> Any:
            begun = time.thread_time()
            try:
                return work(*args, **options)
            finally:
                self.by_place[place] += time.thread_time() - begun

        return counted

    def keep(self, file: Path) -> None:
        """Write it down, again and again."""
        fresh, started = file.with_suffix(".new"), time.monotonic()
        while True:
            time.sleep(_EVERY)
            pages = dict(self.by_place) | {"reader": sum(each.used for each in self.readers)}
            fresh.write_text(json.dumps(Account(pages, time.process_time(), time.monotonic() - started)))
            fresh.replace(file)


class _Steps(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are counted."""

    def __init__(self, spent: _Spent, place: str, work: Coroutine[Any, Any, Any]) -> None:
        self.send = spent.timed(place, work.send)  # type: ignore[method-assign]
        self.throw = spent.timed(place, work.throw)  # type: ignore[method-assign]
        self.close = work.close  # type: ignore[method-assign]

    def __await__(self) -> Generator[Any, Any, Any]:
        value = None
        while True:
            try:
                waited = self.send(value)
            except StopIteration as end:
                return end.value
            value = yield waited

    def send(self, value: Any) -> Any:
        """Replaced for each."""

    def throw(self, *args: Any) -> Any:
        """Replaced for each."""


def account(spent: _Spent) -> None:
    """Count from now on, in all that is started on behalf of a request."""
    start, create_task, to_thread = RequestHandler.start, asyncio.BaseEventLoop.create_task, asyncio.to_thread
    heartbeat, begin = GroupCoordinator._do_heartbeat, Reader.__init__

    async def marked(handler: RequestHandler) -> None:
        _OF_A_PAGE.set(True)
        await start(handler)

    def created(loop: Any, work: Any, **options: Any) -> Any:
        # Its reader counts for itself.
        is_counted = (
            _OF_A_PAGE.get() and not isinstance(work, _Steps) and threading.current_thread().name != THREAD
        )
        return create_task(loop, _Steps(spent, "loop", work) if is_counted else work, **options)

    async def threaded(work: Any, *args: Any, **options: Any) -> Any:
        return await to_thread(spent.timed("threads", work) if _OF_A_PAGE.get() else work, *args, **options)

    async def confirmed(coordinator: Any) -> Any:
        return await _Steps(spent, "kafka", heartbeat(coordinator))

    def begun(reader: Reader, *args: Any) -> None:
        spent.readers.append(reader)
        begin(reader, *args)

    RequestHandler.start = lambda handler: _Steps(spent, "loop", marked(handler))
    asyncio.BaseEventLoop.create_task = created  # type: ignore[method-assign, assignment]
    asyncio.to_thread = threaded  # type: ignore[assignment]
    GroupCoordinator._do_heartbeat = confirmed
    Reader.__init__ = begun  # type: ignore[method-assign]
    for name in ("connection_made", "data_received", "connection_lost"):
        setattr(_Connection, name, spent.timed("loop", getattr(_Connection, name)))


if __name__ == "__main__":
    kept = _Spent()
    account(kept)
    threading.Thread(target=kept.keep, args=(Path(sys.argv[1]),), daemon=True).start()
    main(["worker"], prog_name="telefonie")
