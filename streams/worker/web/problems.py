"""Failures in the shape of RFC 9457; they repeat nothing of the request."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web


class Problem(Exception):
    """What went wrong with a request, for the client to read: `detail` is one line, `members` are extensions."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers, self.members = headers or {}, members or {}


def answer(
    status: int, detail: str | None = None, members: Mapping[str, object] | None = None
) -> web.Response:
    """The response that tells of a failure."""
    said: dict[str, object] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail is not None:
        said["detail"] = detail
    return web.json_response(
        said | dict(members or {}), status=status, content_type="application/problem+json"
    )
