"""Where a worker's web server listens, and asking it from another process: the HTTP client of commands and probes.

Workers ask one another within their event loop: see `streams.worker.web.group`.
"""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from streams.settings import Settings


class NoAnswerError(Exception):
    """Nothing that speaks HTTP answers at a URL in time; the text says why."""


class Answer(NamedTuple):
    """What a web server has answered."""

    status: int
    body: bytes


def is_wildcard(host: str) -> bool:
    """Whether a server bound to this host listens on all addresses: the unspecified one of IPv4 or IPv6, or no host."""
    try:
        address = ip_address(host)
    except ValueError:
        return not host  # else a name
    return (getattr(address, "ipv4_mapped", None) or address).is_unspecified


def url_of(host: str, port: int | None) -> str:
    """The URL of a web server; `host` is a name or an address of either family."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def local_url(settings: Settings) -> str:
    """Where a worker with these settings is reached on its own machine."""
    host = settings.http_bind
    if is_wildcard(host):
        host = "::1" if ":" in host else "127.0.0.1"
    return url_of(host, settings.http_port)


def get(url: str, path: str, *, seconds: float, token: str | None = None) -> Answer:
    """What the web server at `url` answers to a GET, each step of which may take `seconds`.

    Raises NoAnswerError, and ValueError when that is no URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not the URL of a web server: {url!r}")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=seconds)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    except (OSError, HTTPException) as error:
        raise NoAnswerError(getattr(error, "strerror", None) or str(error) or type(error).__name__) from error
    finally:
        connection.close()
