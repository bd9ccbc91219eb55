"""The live page's events: one query of all workers per second, however many people watch, and none when nobody does.

A look takes what the workers have counted anyhow (`/status`). It is worked out and written down once, here, so that all
browsers show the same; a slow one misses looks, and holds up nobody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Collection, Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from streams.engine.members import Member, MembersUnknownError
from streams.settings import Settings
from streams.worker.web.access import Access, access, authorize
from streams.worker.web.calls import Lookup
from streams.worker.web.group import Group
from streams.worker.web.problems import Problem

_log = logging.getLogger(__name__)

_EVERY: Final = 1.0  # seconds
#: Another worker that does not answer within this time (s) is left out of the look.
_PATIENCE: Final = 0.8
_MEMBERS_EVERY: Final = 5.0
#: Looks that are remembered, for the curves: so many seconds.
LOOKS: Final = 120
#: For how long (s) the last browser may be gone, as when its page is reloaded, before the curves are forgotten.
_GRACE: Final = 60.0
#: Watchers at a time, of those who may see calls and of strangers: together fewer than there are connections.
_MOST_WATCHERS: Final = {True: 150, False: 50}
_LAST: Final = 8


class Live:
    """The route `/events`: server-sent events, each the state of the whole group as JSON."""

    def __init__(self, settings: Settings, lookup: Lookup, group: Group) -> None:
        self._settings, self._lookup, self._group = settings, lookup, group
        self._watchers = {True: 0, False: 0}
        self._left_at = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._stopping = False
        self._history = History()
        self._members: list[Member] = []
        self._members_at = -_MEMBERS_EVERY
        #: The last look, for those who may see calls and for everybody else; and how many there were.
        self._said: dict[bool, bytes] = {}
        self.looks = 0

    def routes(self) -> Collection[web.RouteDef]:
        """To be added to an application that answers a `Problem` in its shape."""
        return (web.get("/events", self._events, allow_head=False),)

    async def stop(self) -> None:
        """Let everybody who watches go."""
        self._stopping = True
        if self._looking is not None:
            self._looking.cancel()
        async with self._changed:
            self._changed.notify_all()

    async def _events(self, request: web.Request) -> web.StreamResponse:
        allowed = access(request, self._settings.api_token)
        if allowed is not Access.GRANTED and "Authorization" in request.headers:
            authorize(request, self._settings.api_token)
        granted = allowed is Access.GRANTED
        if self._watchers[granted] >= _MOST_WATCHERS[granted] or self._stopping:
            headers = {"Retry-After": "5"}
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many watch", headers=headers)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._watchers[granted] += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_on())
        try:
            with suppress(ConnectionError):
                await response.prepare(request)
                await self._tell(response, allowed)
        finally:
            self._watchers[granted] -= 1
            self._left_at = time.monotonic()
        return response

    async def _tell(self, response: web.StreamResponse, allowed: Access) -> None:
        await response.write(f"event: access\ndata: {allowed.value}\n\n".encode())
        told = -1
        while not self._stopping:
            if told != self.looks and self._said:
                told = self.looks
                await response.write(b"data: " + self._said[allowed is Access.GRANTED] + b"\n\n")
            async with self._changed:
                if told == self.looks or not self._said:
                    await self._changed.wait()

    # -- looking

    async def _look_on(self) -> None:
        self._history = History()
        try:
            while any(self._watchers.values()) or time.monotonic() - self._left_at < _GRACE:
                begun = time.monotonic()
                try:
                    await self._look()
                except Exception:
                    _log.exception(
                        "the live page could not be brought up to date, it tries again: report the traceback"
                    )
                await asyncio.sleep(max(0.1, begun + _EVERY - time.monotonic()))
        finally:
            self._looking, self._said = None, {}

    async def _look(self) -> None:
        await self._lookup.survey()
        own = self._lookup.status() | {"longest": self._lookup.longest()}
        others, problems = await self._others()
        self._history.add(time.monotonic(), [own, *others])
        found = together(own, others, problems, self._history) | {"now": time.time_ns() // 1_000_000}
        longest = found.pop("longest")
        self._said = {
            False: msgspec.json.encode(found),
            True: msgspec.json.encode(found | {"longest": longest}),
        }
        self.looks += 1
        async with self._changed:
            self._changed.notify_all()

    async def _others(self) -> tuple[list[dict[str, Any]], list[str]]:
        problems: list[str] = []
        if time.monotonic() - self._members_at >= _MEMBERS_EVERY:
            try:
                self._members = await self._group.others(_PATIENCE)
                self._members_at = time.monotonic()
            except MembersUnknownError as error:
                problems.append(str(error))
        replies = await self._group.ask(self._members, "/status", granted=True, seconds=_PATIENCE)
        if any(reply.problem for reply in replies):
            self._members_at = -_MEMBERS_EVERY  # it may be gone
        return (
            [reply.document for reply in replies if not reply.problem],
            problems + [reply.problem for reply in replies if reply.problem],
        )


class History:
    """What the last looks have seen; counts that are comparable only while the same partitions are there."""

    def __init__(self) -> None:
        self._at = 0.0
        self._read: dict[int, int] = {}
        self._rejected = Counter[str]()
        self._rejections: deque[Counter[str]] = deque(maxlen=LOOKS)
        #: Records a second, and records not committed, at each look.
        self.rates: deque[float] = deque(maxlen=LOOKS)
        self.lags: deque[int] = deque(maxlen=LOOKS)
        #: Partitions that are restored: when that was first seen, and what was left then.
        self._restoring: dict[int, tuple[float, int]] = {}

    def add(self, now: float, workers: list[dict[str, Any]]) -> None:
        """A look: the workers' documents at a monotonic time."""
        parts = [part for worker in workers for part in worker["partitions"]]
        read = {part["number"]: part["read"] for part in parts if "read" in part}
        rejected = Counter[str]()
        for worker in workers:
            rejected.update(worker["rejected"])
        if self._at and now > self._at:
            done = sum(max(0, n - self._read[number]) for number, n in read.items() if number in self._read)
            self.rates.append(round(done / (now - self._at), 1))
            self._rejections.append(
                rejected - self._rejected if read.keys() == self._read.keys() else Counter()
            )
        self.lags.append(sum(max(0, p["end"] - p["committed"]) for p in parts if p["end"] is not None))
        left = {part["number"]: part["recovery_remaining"] for part in parts if part["recovery_remaining"]}
        self._restoring = {number: self._restoring.get(number, (now, n)) for number, n in left.items()}
        self._at, self._read, self._rejected = now, read, rejected

    def rejected(self) -> Counter[str]:
        """Records rejected within the looks that are remembered, by reason."""
        return sum(self._rejections, Counter[str]())

    def recovery(self, number: int, left: int) -> dict[str, float | None]:
        """How much of a partition's restoring is done since it was first seen (0 to 1), and the seconds to go."""
        since, first = self._restoring.get(number, (self._at, left))
        done = first - left
        seconds = round(left * (self._at - since) / done, 1) if done > 0 else None
        return {"done": round(done / first, 3) if first else 0.0, "seconds": seconds}


def together(
    own: dict[str, Any], others: list[dict[str, Any]], problems: list[str], history: History
) -> dict[str, Any]:
    """The workers as one."""
    workers = [own, *others]
    windows: dict[str, Counter[str]] = {}
    for worker in workers:
        for start, sums in worker["windows"].items():
            windows.setdefault(start, Counter()).update(sums)
    last = sorted(windows, key=int)[-15:]
    firsts = [worker["oldest_open"] for worker in workers if worker["oldest_open"] is not None]
    return {
        "app_id": own["app_id"],
        "workers": [
            {name: worker[name] for name in ("address", "live", "ready")}
            | {"partitions": sorted(part["number"] for part in worker["partitions"])}
            for worker in workers
        ],
        "problems": problems,
        "rates": list(history.rates),
        "lags": list(history.lags),
        "open": _added(worker["open"] for worker in workers),
        "oldest_open": min(firsts, default=None),
        "closed": _added(worker["closed"] for worker in workers),
        "timed_out": sum(worker["timed_out"] for worker in workers),
        "rejected": _added(worker["rejected"] for worker in workers),
        "rejected_lately": history.rejected(),
        "window_ms": own["window_ms"],
        "windows": [{"start": int(start), **windows[start]} for start in last],
        "partitions": _partitions(workers, own["of"], history),
        "dead": _newest((each for worker in workers for each in worker["dead"]), "at"),
        "longest": _newest((each for worker in workers for each in worker.get("longest", ())), "since", -1),
    }


def _added(counts: Iterable[dict[str, int]]) -> Counter[str]:
    found = Counter[str]()
    for each in counts:
        found.update(each)
    return found


def _newest(found: Iterable[dict[str, Any]], time_name: str, sign: int = 1) -> list[dict[str, Any]]:
    return sorted(found, key=lambda each: -sign * int(each[time_name]))[:_LAST]


def _partitions(workers: list[dict[str, Any]], of: int, history: History) -> list[dict[str, Any]]:
    """All partitions of the calls topic; of one that no worker tells of, its number only."""
    told: dict[int, dict[str, Any]] = {number: {"number": number} for number in range(of)}
    for worker in workers:
        for part in worker["partitions"]:
            number, left = part["number"], part["recovery_remaining"]
            told[number] = part | {"worker": worker["address"]}
            if left:
                told[number]["recovery"] = history.recovery(number, left)
    return [told[number] for number in sorted(told)]
