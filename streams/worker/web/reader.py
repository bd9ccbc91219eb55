"""A consumer for the pages, in a thread of its own: reading holds up neither the event loop nor the engine's fetcher.

Connecting costs more than most looks into a topic do, so the consumer is kept for a while after each.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, TypeVar

from streams.kafka import reading
from streams.settings import Settings
from streams.worker.web.problems import Problem

#: The name of the thread.
THREAD: Final = "pages"
#: A job ends after so long (s), connecting included.
PATIENCE: Final = 20.0
#: The consumer is closed when nobody has read for so long (s).
_IDLE: Final = 30.0
#: A fetch of a partition: a page looks at little of it (bytes).
_FETCH_BYTES: Final = 1 << 20
_STOP_SECONDS: Final = 2.0

T = TypeVar("T")
Job = Callable[[Any], Awaitable[T]]
"""Is given the consumer."""


class Reader:
    """Does one job after another; not to be given a second one before the first has ended."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._thread: _Thread | None = None
        #: The one that was closed last.
        self._former: _Thread | None = None
        self._closing: asyncio.TimerHandle | None = None
        #: CPU time (s) that all jobs have taken.
        self.used = 0.0

    async def run(self, job: Job[T]) -> T:
        """Do a job. Raises what it raises, TimeoutError after `PATIENCE`, and as `reading.reader`.

        After anything but a Problem the consumer is not used again.
        """
        if self._closing is not None:
            self._closing.cancel()
        thread = self._thread = self._thread or _Thread(self._settings)
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(thread.do(job), thread.loop))
        except Problem:
            raise
        except BaseException:
            self._close()
            raise
        finally:
            self.used += thread.take_used()
            self._closing = asyncio.get_running_loop().call_later(_IDLE, self._close)

    def _close(self) -> None:
        if self._thread is not None:
            self._thread.close()
            self._former, self._thread = self._thread, None

    async def stop(self) -> None:
        """Close the consumer; waits a moment for it."""
        if self._closing is not None:
            self._closing.cancel()
        self._close()
        if self._former is not None:
            await asyncio.to_thread(self._former.join, _STOP_SECONDS)


class _Thread(threading.Thread):
    """The thread and what lives in it; `do` and what it calls run there."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name=THREAD, daemon=True)
        self.loop = asyncio.new_event_loop()
        self._settings, self._used = settings, 0.0
        self._consumer: Any = None
        self._job: asyncio.Task[Any] | None = None
        self._open = AsyncExitStack()
        self.start()

    def run(self) -> None:
        """Until it is closed."""
        self.loop.run_forever()
        self.loop.close()

    async def do(self, job: Job[T]) -> T:
        """Do a job with the consumer, which is connected first if it is not yet."""
        begun, self._job = time.thread_time(), asyncio.current_task()
        try:
            async with asyncio.timeout(PATIENCE):
                if self._consumer is None:
                    consumer = reading.reader(self._settings, max_partition_fetch_bytes=_FETCH_BYTES)
                    self._consumer = await self._open.enter_async_context(consumer)
                return await job(self._consumer)
        finally:
            self._used += time.thread_time() - begun
            self._job = None

    def take_used(self) -> float:
        """The CPU time (s) of the jobs since it was asked for last."""
        used, self._used = self._used, 0.0
        return used

    def close(self) -> None:
        """Let the consumer go and the thread end; does not wait for that."""
        asyncio.run_coroutine_threadsafe(self._end(), self.loop)

    async def _end(self) -> None:
        if self._job is not None:
            self._job.cancel()
            await asyncio.wait([self._job])
        with suppress(Exception):  # of a consumer that has failed already
            await self._open.aclose()
        self.loop.stop()
