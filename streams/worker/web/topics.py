"""Requests that read topics for a page wait for a turn: one reads at a time, and beside a busy worker they rest in
between.

All who wait when a rest is over are served in one pass, as far as its time reaches: they share what it reads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from aiokafka.errors import KafkaError

from streams.engine.failures import lacking
from streams.errors import OperatorError
from streams.kafka.errors import told
from streams.settings import Settings
from streams.worker.web.look import Look, Pass, Wanted
from streams.worker.web.pace import Pace
from streams.worker.web.problems import Problem
from streams.worker.web.reader import PATIENCE, Job, Reader

#: A request that has not had its turn after this time (s) is refused and may be repeated, as is one that arrives when
#: this many wait.
_WAIT_SECONDS, _WAITING = 10.0, 64

T = TypeVar("T")


class _Turn:
    """A job that waits to be done, and what becomes of it."""

    def __init__(self, topic: str, job: Callable[[Pass, Any], Awaitable[Any]]) -> None:
        self.topic, self.job = topic, job
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.has_begun = False

    def give_up(self) -> None:
        """It has waited for long enough."""
        if not self.has_begun and not self.outcome.done():
            detail = (
                f"others look into topics, and within {_WAIT_SECONDS:.0f} s it was not this request's turn"
            )
            self.outcome.set_exception(_later(detail))


class Topics:
    """Gives everybody a turn, in the order in which they ask. Its consumer is closed by `stop`."""

    def __init__(self, settings: Settings, waiting: Callable[[], int]) -> None:
        """`waiting` is how many records the worker has not committed yet."""
        self._reader, self._pace = Reader(settings), Pace(waiting)
        self._waiting: deque[_Turn] = deque()
        self._serving: asyncio.Task[None] | None = None

    async def look(self, wanted: Wanted[T], answer: Callable[[Look[T]], bytes]) -> bytes:
        """What `answer` says of what was found; it is worked out beside the event loop too. Raises as `read`."""

        async def job(shared: Pass, consumer: Any) -> bytes:
            return answer(await wanted.look(shared, consumer))

        said: bytes = await self._take_turn(_Turn(wanted.topic, job))
        return said

    async def read(self, topic: str, job: Job[T]) -> T:
        """Do with a consumer what has to be done quickly.

        Raises Problem when it does not get a turn, or fails, and what the job raises.
        """
        found: T = await self._take_turn(_Turn(topic, lambda _, consumer: job(consumer)))
        return found

    async def _take_turn(self, turn: _Turn) -> Any:
        if len(self._waiting) >= _WAITING:
            raise _later("too many look into topics at the moment")
        self._waiting.append(turn)
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        patience = asyncio.get_running_loop().call_later(_WAIT_SECONDS, turn.give_up)
        try:
            return await turn.outcome
        except TimeoutError:
            raise _later(f"topic {turn.topic} could not be read within {PATIENCE:.0f} s") from None
        except (OperatorError, KafkaError) as error:
            lacking(error, "Read")
            raise _later(f"topic {turn.topic} could not be read: {told(error)}") from None
        finally:
            patience.cancel()

    async def _serve(self) -> None:
        """Passes, with a rest before each, for as long as somebody waits."""
        try:
            while self._waiting:
                await asyncio.sleep(self._pace.rest())
                before, budget = self._reader.used, self._pace.budget()
                shared = Pass(budget)
                while self._waiting and self._reader.used - before <= budget:
                    await self._do(self._waiting.popleft(), shared)
                self._pace.spent(self._reader.used - before)
        finally:
            self._serving = None

    async def _do(self, turn: _Turn, shared: Pass) -> None:
        """Unless the client is gone."""
        if turn.outcome.done():
            return
        turn.has_begun = True
        try:
            found = await self._reader.run(partial(turn.job, shared))
        except Exception as error:
            if not turn.outcome.done():
                turn.outcome.set_exception(error)
        else:
            if not turn.outcome.done():
                turn.outcome.set_result(found)

    async def stop(self) -> None:
        """Let everybody go who waits, and close the consumer."""
        if self._serving is not None:
            self._serving.cancel()
        for turn in self._waiting:
            if not turn.outcome.done():
                turn.outcome.set_exception(_later("the worker stops"))
        self._waiting.clear()
        await self._reader.stop()


def _later(detail: str) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "2"})
