"""Calls over HTTP: what the workers hold of them, for those who may know, and never a wrong answer.

A worker knows the calls of its own partitions only, and asks the other workers for the rest. Each answers for itself
once the group's coordinator has confirmed, after the request came, that its partitions are still its own: a process
that was paused and has lost them must not speak of calls as they were. That there is no such call is said only when
every partition has been searched so.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec
from aiohttp import web

from streams.calls.kpis import Kpis, KpiSelection
from streams.calls.view import AGES, OpenPage, OpenSelection
from streams.codecs import STATUSES
from streams.engine.members import MembersUnknownError
from streams.engine.writer import partition_of as partition_of_key
from streams.settings import Settings, parse_duration
from streams.worker.single_flight import SingleFlight, SingleFlights
from streams.worker.web import page
from streams.worker.web.access import Access, access, authorize
from streams.worker.web.group import MEMBER, Group, Membership
from streams.worker.web.problems import Problem

#: Calls in an answer, unless asked for otherwise, and at most.
LIMIT, MOST = 100, 1000
_RETRY_SECONDS: Final = "2"
#: However often strangers ask for the status, the brokers and the workers are asked once in so many seconds.
_SHARED_SECONDS: Final = 1.0
#: Looking at all open calls takes this part of the time at most for each question; no answer is older (s).
_SHARE: Final = 1 / 100
_OLDEST_SECONDS: Final = 5.0
_OPEN_STATUSES: Final = STATUSES[:3]
_CALL_PAGE: Final = page.page("call")
_OPEN_PAGE: Final = page.page("open")
_PLACE: Final = re.compile(r"([0-9]{1,18}):(.*)", re.DOTALL)
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}")
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_PARAMETERS: Final = {"status", "country", "older_than", "limit", "after"}


class Lookup(Membership, Protocol):
    """Who holds calls."""

    @property
    def member_id(self) -> str:
        """Our id in the group; empty before we have joined it."""

    async def unsure(self) -> list[str]:
        """Why nothing certain can be said about calls now, a line for each reason; none when it can."""

    def holds(self) -> tuple[list[int], int]:
        """The partitions of the calls topic that are ours, and how many there are."""

    def waiting(self) -> int:
        """How many records of our partitions are not committed yet, as far as is known."""

    def call(self, call_id: str) -> dict[str, Any] | None:
        """A call of our partitions that is open or still remembered."""

    async def open_calls(self, selection: OpenSelection, limit: int) -> OpenPage:
        """The open calls of a selection, the oldest first, at most `limit`; how many there are by `AGES`."""

    async def kpis(self, selection: KpiSelection) -> Kpis:
        """The KPI windows of our partitions, added up."""

    async def survey(self) -> None:
        """Update what is reported about all open calls, in the metrics and the two below; it may take a while."""

    def status(self) -> dict[str, Any]:
        """How the worker is, without anything of any call."""

    def longest(self) -> list[dict[str, Any]]:
        """The calls that have been open for longest, by id."""


class CallsApi:
    """The routes `/calls/{id}`, `/calls` and `/status`."""

    def __init__(self, settings: Settings, lookup: Lookup, group: Group) -> None:
        self._settings, self._lookup, self._group = settings, lookup, group
        self._listed = SingleFlights[dict[str, Any]](times=1 / _SHARE, most=_OLDEST_SECONDS)
        self._for_strangers = {
            alone: SingleFlight(partial(self._for_stranger, alone), seconds=_SHARED_SECONDS)
            for alone in (True, False)
        }

    def routes(self) -> Collection[web.RouteDef]:
        """To be added to an application that answers a `Problem` in its shape."""
        return (
            web.get("/calls", self._open),
            web.get("/calls/{id:(?s:.+)}", self._call),
            web.get("/status", self._status),
        )

    # -- one call

    async def _call(self, request: web.Request) -> web.Response:
        if page.wanted(request, "application/json"):
            return _CALL_PAGE()
        authorize(request, self._settings.api_token)
        alone, call_id = is_alone(request, self._lookup), request.match_info["id"]
        problems = list(await self._lookup.unsure())
        if not problems and (found := self._lookup.call(call_id)) is not None:
            return web.json_response(found)
        partitions, of = self._lookup.holds()
        searched = set() if problems else set(partitions)
        if not alone and len(searched) < of:
            elsewhere, others = await self._elsewhere(call_id, of, searched)
            if elsewhere is not None:
                return web.json_response(elsewhere)
            problems += others
        if problems or (not alone and len(searched) < of):
            raise not_now(problems or ["partitions have moved meanwhile"])
        detail = "no such call is open, or remembered since it closed"
        raise Problem(HTTPStatus.NOT_FOUND, detail, members={"partitions": sorted(searched), "of": of})

    async def _elsewhere(
        self, call_id: str, of: int, searched: set[int]
    ) -> tuple[dict[str, Any] | None, list[str]]:
        """The call as another worker knows it, or what kept them from saying; adds to what has been searched."""
        try:
            others = await self._group.others()
        except MembersUnknownError as error:
            return None, [str(error)]
        likely = partition_of(call_id, of)
        owner = [member for member in others if likely in member.partitions]
        problems = []
        for some in (owner, [member for member in others if member not in owner]):
            for reply in await self._group.ask(some, f"/calls/{quote(call_id, safe='')}", granted=True):
                if reply.status == HTTPStatus.OK:
                    return reply.document, []
                searched |= reply.partitions
                problems += [reply.problem] if reply.problem else []
        return None, problems

    # -- open calls

    async def _open(self, request: web.Request) -> web.Response:
        if page.wanted(request, "application/json"):
            return _OPEN_PAGE()
        authorize(request, self._settings.api_token)
        alone = is_alone(request, self._lookup)
        selection, limit = _parsed(request)
        own, elsewhere = await asyncio.gather(
            self._own_open(request, selection, limit), self._open_elsewhere(request, alone)
        )
        merged = _Merged()
        for each in (own, *elsewhere):
            merged.add(each)
        if not merged.partitions and merged.problems:
            raise not_now(merged.problems)
        document = merged.document(limit, self._lookup.holds()[1])
        return web.json_response(body=msgspec.json.encode(document))

    async def _own_open(
        self, request: web.Request, selection: OpenSelection, limit: int
    ) -> dict[str, Any] | str:
        question = tuple(sorted(request.query.items()))
        found = await self._listed.get(question, partial(self._look_at_open, selection, limit))
        # Asked after the look: what was seen was ours if it is now.
        if reasons := await self._lookup.unsure():
            self._listed.clear()
            return "; ".join(reasons)
        return found

    async def _look_at_open(self, selection: OpenSelection, limit: int) -> dict[str, Any]:
        found, held = await self._lookup.open_calls(selection, limit), self._lookup.holds()[0]
        return _said(found.calls, found.ages) | {"partitions": held, "next": _text(found.next)}

    async def _open_elsewhere(self, request: web.Request, alone: bool) -> list[dict[str, Any] | str]:
        if alone:
            return []
        try:
            others = await self._group.others()
            replies = await self._group.ask(others, "/calls", list(request.query.items()), granted=True)
        except MembersUnknownError as error:
            return [str(error)]
        return [reply.problem or reply.document for reply in replies]

    # -- the workers

    async def _status(self, request: web.Request) -> web.Response:
        alone = is_alone(request, self._lookup)
        await self._lookup.survey()
        if access(request, self._settings.api_token) is not Access.GRANTED:
            return web.json_response(await self._for_strangers[alone].get())
        document = self._lookup.status() | {"longest": self._lookup.longest()}
        return web.json_response(document if alone else document | await self._others(granted=True))

    async def _for_stranger(self, alone: bool) -> dict[str, Any]:
        """The status without anything of any call."""
        document = self._lookup.status()
        return document if alone else document | await self._others(granted=False)

    async def _others(self, *, granted: bool) -> dict[str, Any]:
        """What the other workers say of themselves, and what is wrong with those that say nothing."""
        try:
            replies = await self._group.ask(await self._group.others(), "/status", granted=granted)
        except MembersUnknownError as error:
            return {"others": [], "problems": [str(error)]}
        return {
            "others": [reply.document for reply in replies if not reply.problem],
            "problems": [reply.problem for reply in replies if reply.problem],
        }


def is_alone(request: web.Request, lookup: Lookup) -> bool:
    """Whether this worker is asked for itself alone. Problem when another one is meant."""
    meant = request.headers.get(MEMBER)
    if meant is not None and meant != lookup.member_id:
        raise Problem(HTTPStatus.MISDIRECTED_REQUEST, "another member of the group was meant")
    return meant is not None


class _Merged:
    """Open calls of several workers."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.total, self.ages = 0, [0] * (len(AGES) + 1)
        self.partitions: set[int] = set()
        self.problems: list[str] = []
        #: The places up to which workers have listed theirs, where they have more.
        self._reached: list[tuple[int, bytes]] = []

    def add(self, said: dict[str, Any] | str) -> None:
        """Add what a worker says, which is a problem if it is text."""
        if isinstance(said, str):
            self.problems.append(said)
        elif self.partitions.isdisjoint(said["partitions"]):
            self.calls += said["calls"]
            self.total += said["total"]
            # Release 0.1 does not say how old they are.
            told = [each["calls"] for each in said.get("ages", ())] or [0] * len(self.ages)
            self.ages = [n + more for n, more in zip(self.ages, told, strict=True)]
            self.partitions |= set(said["partitions"])
            if (reached := said.get("next")) is not None:
                self._reached.append(_after(reached))
        else:
            self.problems.append("partitions have moved meanwhile")

    def document(self, limit: int, of: int) -> dict[str, Any]:
        """The oldest calls, which partitions they are of, and what gets those behind them."""
        reached = min(self._reached, default=None)
        known = sorted(self.calls, key=_place)
        shown = [each for each in known if reached is None or _place(each) <= reached]
        if len(shown) > limit:
            shown = shown[:limit]
            reached = _place(shown[-1])
        return _said(shown, self.ages) | {
            "total": self.total,
            "next": _text(reached),
            "partitions": sorted(self.partitions),
            "of": of,
            "problems": self.problems,
        }


def _place(call: dict[str, Any]) -> tuple[int, bytes]:
    """Where an open call is in the order of all."""
    since = datetime.fromisoformat(call["opened_at"]) - _EPOCH
    return since // _MILLISECOND, call["id"].encode()


def _text(place: tuple[int, bytes] | None) -> str | None:
    """A place as it stands in an answer, to be given back as `after`."""
    return None if place is None else f"{place[0]}:{place[1].decode()}"


def _said(calls: list[dict[str, Any]], ages: list[int]) -> dict[str, Any]:
    """Open calls as they stand in an answer."""
    by_age = [{"up_to_seconds": most, "calls": n} for most, n in zip((*AGES, None), ages, strict=True)]
    return {"calls": calls, "total": sum(ages), "ages": by_age}


def partition_of(call_id: str, count: int) -> int:
    """The partition in which producers put the events of a call that they key by its id, as Kafka's default is."""
    return partition_of_key(call_id.encode("utf-8", "replace"), count)


def not_now(reasons: list[str]) -> Problem:
    """Nothing certain can be said at the moment."""
    headers = {"Retry-After": _RETRY_SECONDS}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(reasons), headers=headers)


def _parsed(request: web.Request) -> tuple[OpenSelection, int]:
    """What a query asks for; Problem for one that cannot be understood, which must not be answered otherwise."""
    query = request.query
    if unknown := set(query) - _PARAMETERS:
        raise _bad(
            f"there are the parameters {', '.join(sorted(_PARAMETERS))}, and {len(unknown)} other given"
        )
    statuses = frozenset(query.getall("status", []))
    if not statuses <= set(_OPEN_STATUSES):
        raise _bad(f"status takes {', '.join(_OPEN_STATUSES)}")
    before: int | None = None
    if (age := query.get("older_than")) is not None:
        try:
            before = time.time_ns() // 1_000_000 - parse_duration(age)
        except ValueError:
            raise _bad("older_than takes a duration such as 90s or 2h") from None
    countries = countries_of(query.getall("country", []))
    selection = OpenSelection(
        statuses=statuses, countries=countries, before=before, after=_after(query.get("after"))
    )
    return selection, limited(query.get("limit"), LIMIT, MOST)


def countries_of(texts: list[str]) -> frozenset[str]:
    """The countries that are asked for. Raises Problem for what is no ISO 3166-1 alpha-2 code."""
    if not all(_COUNTRY.fullmatch(text) for text in texts):
        raise _bad("country takes two letters such as FR, or ZZ for an unknown country")
    return frozenset(text.upper() for text in texts)


def _after(text: str | None) -> tuple[int, bytes]:
    if text is None:
        return OpenSelection.after
    if (found := _PLACE.fullmatch(text)) is None:
        raise _bad("after takes the `next` of another answer")
    return int(found[1]), found[2].encode("utf-8", "surrogatepass")


def limited(text: str | None, usual: int, most: int) -> int:
    """How many of a list are asked for. Raises Problem when that is not a number from 1 to `most`."""
    if text is None:
        return usual
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= most):
        raise _bad(f"limit takes a whole number from 1 to {most}")
    return int(text)


def _bad(detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, detail)
