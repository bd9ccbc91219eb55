"""Who may see call data."""

from __future__ import annotations

import hmac
import re
from enum import Enum
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from aiohttp import HttpVersion11, web

from streams.settings import PREFIX
from streams.worker.web.problems import Problem

_DIRECT: Final = re.compile(
    r"accept(-.*)?|authorization|cache-control|connection|content-(length|type)|cookie|date|dnt|expect|host|if-.*"
    r"|keep-alive|origin|pragma|priority|purpose|range|referer|save-data|sec-.*|te|telefonie-member"
    r"|upgrade-insecure-requests|user-agent",
    re.IGNORECASE,
)
"""The headers that a client sends by itself. Proxies add others, by names that nobody can list."""

_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:@/\[\]]+))(?::[0-9]*)?", re.IGNORECASE)


class Access(Enum):
    """Whether a request may see call data; else what it lacks: the token, or to come from this machine."""

    GRANTED = "granted"
    NO_TOKEN = "token"
    NOT_LOCAL = "local"


def access(request: web.BaseRequest, token: str | None) -> Access:
    """With a token, who has it may see call data; without one, who asks on this machine."""
    if token is None:
        return Access.GRANTED if _is_local(request) else Access.NOT_LOCAL
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode())
    return Access.GRANTED if kind.lower() == "bearer" and right else Access.NO_TOKEN


def authorize(request: web.BaseRequest, token: str | None) -> None:
    """Raise Problem unless the request may see call data."""
    found = access(request, token)
    if found is Access.NOT_LOCAL:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            f"without {PREFIX}API_TOKEN call data is served only to clients on this machine that ask by a local name, "
            "through no proxy and with no header that one may have added; set a token, or ask localhost directly",
        )
    if found is Access.NO_TOKEN:
        challenge = {"WWW-Authenticate": 'Bearer realm="telefonie"'}
        raise Problem(
            HTTPStatus.UNAUTHORIZED, f"it takes the bearer token of {PREFIX}API_TOKEN", headers=challenge
        )


def _is_local(request: web.BaseRequest) -> bool:
    """Whether a client on this machine asks by a local name: not a proxy, nor a page that was lured here.

    A proxy on this machine is recognized by what it adds, by the name it asks for, by HTTP/1.0 (nginx, unless
    configured otherwise), or by a URL in place of a path. Whatever is not known of direct clients is taken for a
    proxy's.
    """
    return (
        _is_loopback(request.remote or "")
        and _is_local_name(request.headers.getall("Host", []))
        and request.version >= HttpVersion11
        and request.raw_path.startswith("/")
        and all(_DIRECT.fullmatch(name) for name in request.headers)
    )


def _is_local_name(hosts: list[str]) -> bool:
    found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    name = (found[1] or found[2]).lower() if found else ""
    return name == "localhost" or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
