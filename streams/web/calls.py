"""Calls over HTTP: what this worker holds of them, for those who may know, and never a wrong answer.

A worker knows the calls of its own partitions only, and every answer says which those are. It answers once the
group's coordinator has confirmed, after the request came, that the partitions are still its own: a process
that was paused and has lost them must not speak of calls as they were.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Collection
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Final, Protocol

from aiohttp import web

from streams.calls.view import OpenSelection
from streams.codecs import STATUSES
from streams.settings import PREFIX, Settings, milliseconds
from streams.web.problems import Problem

_LIMIT, _MOST = 100, 1000
_RETRY_SECONDS: Final = "2"
_OPEN_STATUSES: Final = STATUSES[:3]
_PARAMETERS: Final = {"status", "country", "older_than", "limit"}
#: What a proxy adds: the peer is not the client then.
_FORWARDED: Final = ("Forwarded", "X-Forwarded-For")


class Lookup(Protocol):
    """Who holds the calls."""

    async def unsure(self) -> list[str]:
        """Why nothing certain can be said about calls now, a line for each reason; none when it can."""

    def holds(self) -> tuple[list[int], int]:
        """The partitions of the calls topic that are ours, and how many there are."""

    def call(self, call_id: str) -> dict[str, Any] | None:
        """A call of our partitions that is open or still remembered."""

    async def open_calls(self, selection: OpenSelection, limit: int) -> tuple[list[dict[str, Any]], int]:
        """The open calls of a selection, the oldest first, at most `limit`; and how many there are."""

    def status(self) -> dict[str, Any]:
        """How the worker is, without anything of any call."""


class CallsApi:
    """The routes `/calls/{id}`, `/calls` and `/status`."""

    def __init__(self, settings: Settings, lookup: Lookup) -> None:
        self._settings, self._lookup = settings, lookup

    def routes(self) -> Collection[web.RouteDef]:
        """To be added to an application that answers a `Problem` in its shape."""
        return (
            web.get("/calls", self._open),
            web.get("/calls/{id:.+}", self._call),
            web.get("/status", self._status),
        )

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(self._lookup.status())

    async def _call(self, request: web.Request) -> web.Response:
        authorize(request, self._settings.api_token)
        await self._be_sure()
        found = self._lookup.call(request.match_info["id"])
        if found is not None:
            return web.json_response(found)
        partitions, of = self._lookup.holds()
        detail = "no such call is open, or remembered since it closed"
        if len(partitions) < of:
            detail += f", in the partitions {partitions} of this worker: others of the {of} may hold it"
        raise Problem(HTTPStatus.NOT_FOUND, detail, members={"partitions": partitions, "of": of})

    async def _open(self, request: web.Request) -> web.Response:
        authorize(request, self._settings.api_token)
        selection, limit = _parsed(request)
        await self._be_sure()
        calls, total = await self._lookup.open_calls(selection, limit)
        await self._be_sure()  # it took a while
        partitions, of = self._lookup.holds()
        return web.json_response({"calls": calls, "total": total, "partitions": partitions, "of": of})

    async def _be_sure(self) -> None:
        if reasons := await self._lookup.unsure():
            headers = {"Retry-After": _RETRY_SECONDS}
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(reasons), headers=headers)


def authorize(request: web.Request, token: str | None) -> None:
    """Raise Problem unless the request may see call data: it has the token, or without one comes from here."""
    if token is None:
        if not _is_local(request):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                f"call data is served to this machine only, unless {PREFIX}API_TOKEN is set",
            )
        return
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode())
    if kind.lower() != "bearer" or not right:
        challenge = {"WWW-Authenticate": 'Bearer realm="telefonie"'}
        raise Problem(
            HTTPStatus.UNAUTHORIZED, f"it takes the bearer token of {PREFIX}API_TOKEN", headers=challenge
        )


def _is_local(request: web.Request) -> bool:
    """Whether a client on this machine asks by a local name: not a proxy, nor a page that was lured here."""
    host = request.url.host or ""
    return (
        _is_loopback(request.remote or "")
        and (host == "localhost" or _is_loopback(host))
        and not any(name in request.headers for name in _FORWARDED)
    )


def _is_loopback(address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


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
            before = time.time_ns() // 1_000_000 - milliseconds(age)
        except ValueError:
            raise _bad("older_than takes a duration such as 90s or 2h") from None
    limit = query.get("limit", str(_LIMIT))
    if not (limit.isdecimal() and len(limit) < 6 and 1 <= int(limit) <= _MOST):
        raise _bad(f"limit takes a whole number from 1 to {_MOST}")
    countries = frozenset(code.upper() for code in query.getall("country", []))
    return OpenSelection(statuses=statuses, countries=countries, before=before), int(limit)


def _bad(detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, detail)
