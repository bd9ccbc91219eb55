"""Asking the workers' web servers."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlencode, urlsplit

from streams.errors import OperatorError
from streams.settings import PREFIX, Settings

_TIMEOUT = 15.0  # seconds


def default_url(settings: Settings) -> str:
    """Where a worker with these settings listens, seen from its own machine."""
    host = settings.http_bind
    with suppress(ValueError):
        if (bound := ip_address(host)).is_unspecified:  # it listens on every address
            host = "::1" if bound.version == 6 else "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http_port}"


@dataclass
class Workers:
    """The workers at some URLs, asked one after the other.

    `held` are the partitions that those who answered hold, of `count`.
    """

    urls: Sequence[str]
    token: str | None
    held: set[int] = field(default_factory=set)
    count: int = 0

    def ask(self, url: str, path: str, query: Sequence[tuple[str, str]] = ()) -> tuple[int, dict[str, Any]]:
        """The status, 200 or 404, and the document of an answer; OperatorError for any other."""
        status, document = _get(url, f"{path}?{urlencode(query)}" if query else path, self.token)
        if status not in (200, 404) or (status == 404 and "of" not in document):
            raise OperatorError(
                f"the worker at {url} answers {status}: {document.get('detail', 'no reason given')}"
            )
        self.held |= set(document.get("partitions", ()))
        self.count = max(self.count, document.get("of", 0))
        return status, document

    def missing(self) -> list[int]:
        """The partitions that none of them holds."""
        return sorted(set(range(self.count)) - self.held)


def _get(url: str, path: str, token: str | None) -> tuple[int, dict[str, Any]]:
    connection = _connection(url)
    headers: Mapping[str, str] = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, _document(answer)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise OperatorError(
            f"no worker answers at {url} ({reason}): --url says where one listens, the settings "
            f"{PREFIX}HTTP_BIND and {PREFIX}HTTP_PORT where else it is looked for"
        ) from None
    finally:
        connection.close()


def _connection(url: str) -> HTTPConnection:
    parts = urlsplit(url)
    try:
        if parts.scheme in ("http", "https") and parts.hostname:
            kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
            return kind(parts.hostname, parts.port, timeout=_TIMEOUT)
    except ValueError:
        pass
    raise OperatorError(f"{url!r} is no URL of a worker such as http://127.0.0.1:6066")


def _document(answer: HTTPResponse) -> dict[str, Any]:
    try:
        found = json.loads(answer.read())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
