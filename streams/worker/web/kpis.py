"""KPIs of the last hours over HTTP: `/kpis`, added up from what the workers remember."""

from __future__ import annotations

import time
from collections.abc import Collection
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from streams.calls.kpis import Kpis, KpiSelection
from streams.engine.members import MembersUnknownError
from streams.settings import Settings, parse_duration
from streams.worker.single_flight import SingleFlights
from streams.worker.web import page
from streams.worker.web.access import authorize
from streams.worker.web.calls import Lookup, countries_of, is_alone, not_now
from streams.worker.web.group import Group
from streams.worker.web.problems import Problem

_PAGE: Final = page.page("kpis")
_SPAN: Final = "1h"
#: Slots of time in an answer, at most.
_SLOTS: Final = 96
#: Adding up takes this part of the time at most for each selection; no answer is older (s).
_SHARE: Final = 1 / 100
_OLDEST_SECONDS: Final = 60.0
DIRECTIONS: Final = ("inbound", "outbound")
_SINCE, _SLOT = "since_ms", "slot_ms"


class KpisApi:
    """The route `/kpis`."""

    def __init__(self, settings: Settings, lookup: Lookup, group: Group) -> None:
        self._settings, self._lookup, self._group = settings, lookup, group
        self._added = SingleFlights[dict[str, Any]](times=1 / _SHARE, most=_OLDEST_SECONDS)

    def routes(self) -> Collection[web.RouteDef]:
        """To be added to an application that answers a `Problem` in its shape."""
        return (web.get("/kpis", self._kpis),)

    async def _kpis(self, request: web.Request) -> web.Response:
        """Windows by time, direction and country; `problems` say whose are missing."""
        if page.wanted(request, "application/json"):
            return _PAGE()
        authorize(request, self._settings.api_token)
        alone = is_alone(request, self._lookup)
        selection = self._selection(request)
        said = [await self._own(selection), *await self._elsewhere(selection, alone)]
        found, seen, problems = Kpis.nothing(), set[int](), list[str]()
        for each in said:
            if isinstance(each, str):
                problems.append(each)
            elif seen.isdisjoint(each["partitions"]):
                found.merge(each)
                seen |= set(each["partitions"])
            else:
                problems.append("partitions have moved meanwhile")
        if not seen and problems:
            raise not_now(problems)
        settings = self._settings
        about = {
            _SINCE: selection.since,
            _SLOT: selection.slot,
            "window_ms": settings.kpi_window,
            "remembered_ms": settings.call_retention,
            "partitions": sorted(seen),
            "of": self._lookup.holds()[1],
            "problems": problems,
        }
        return web.json_response(body=msgspec.json.encode(found.document() | about))

    async def _own(self, selection: KpiSelection) -> dict[str, Any] | str:
        found = await self._added.get(selection, partial(self._add, selection))
        # Asked after the look: what was seen was ours if it is now.
        if reasons := await self._lookup.unsure():
            self._added.clear()
            return "; ".join(reasons)
        return found

    async def _add(self, selection: KpiSelection) -> dict[str, Any]:
        found, held = await self._lookup.kpis(selection), self._lookup.holds()[0]
        return found.document() | {"partitions": held}

    async def _elsewhere(self, selection: KpiSelection, alone: bool) -> list[dict[str, Any] | str]:
        if alone:
            return []
        query = [(_SINCE, str(selection.since)), (_SLOT, str(selection.slot))]
        query += [("direction", each) for each in sorted(selection.directions)]
        query += [("country", each) for each in sorted(selection.countries)]
        try:
            replies = await self._group.ask(await self._group.others(), "/kpis", query, granted=True)
        except MembersUnknownError as error:
            return [str(error)]
        return [reply.problem or reply.document for reply in replies]

    def _selection(self, request: web.Request) -> KpiSelection:
        query = request.query
        if set(query) - {"span", "direction", "country", _SINCE, _SLOT}:
            raise _bad("there are the parameters span, direction and country, and another is given")
        directions = frozenset(query.getall("direction", []))
        if not directions <= set(DIRECTIONS):
            raise _bad(f"direction takes {' or '.join(DIRECTIONS)}")
        since, slot = self._times(request)
        countries = countries_of(query.getall("country", []))
        return KpiSelection(since=since, slot=slot, directions=directions, countries=countries)

    def _times(self, request: web.Request) -> tuple[int, int]:
        """The first moment and the width of a slot, whole windows both."""
        given = [request.query.get(name, "") for name in (_SINCE, _SLOT)]
        if all(text.isascii() and text.isdecimal() and 0 < len(text) < 16 for text in given) and int(
            given[1]
        ):
            return int(given[0]), int(given[1])
        width = self._settings.kpi_window
        try:
            span = parse_duration(request.query.get("span", _SPAN))
        except ValueError:
            raise _bad("span takes a duration such as 1h or 24h") from None
        slot = width * max(1, -(-span // (width * _SLOTS)))
        since = max(0, time.time_ns() // 1_000_000 - span)
        return since - since % slot, slot


def _bad(detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, detail)
