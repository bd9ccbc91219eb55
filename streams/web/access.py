"""Who may see call data."""

from __future__ import annotations

import hmac
from enum import Enum
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from aiohttp import web

from streams.settings import PREFIX
from streams.web.problems import Problem

#: What a proxy adds: the peer is not the client then.
_FORWARDED: Final = ("Forwarded", "X-Forwarded-For")


class Access(Enum):
    """Whether a request may see call data; else what it lacks: the token, or to come from this machine."""

    GRANTED = "granted"
    NO_TOKEN = "token"
    NOT_LOCAL = "local"


def access(request: web.Request, token: str | None) -> Access:
    """With a token, who has it may see call data; without one, who asks on this machine."""
    if token is None:
        return Access.GRANTED if _is_local(request) else Access.NOT_LOCAL
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode())
    return Access.GRANTED if kind.lower() == "bearer" and right else Access.NO_TOKEN


def authorize(request: web.Request, token: str | None) -> None:
    """Raise Problem unless the request may see call data."""
    found = access(request, token)
    if found is Access.NOT_LOCAL:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            f"call data is served to this machine only, unless {PREFIX}API_TOKEN is set",
        )
    if found is Access.NO_TOKEN:
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
