"""`/openapi.json`: what the worker answers over HTTP, as an OpenAPI 3.1 document.

The schemas are those of the types below; tests hold what the routes answer against them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from streams.codecs import REASONS, CompletedCall
from streams.codecs.completed_call import ClosedBy, Instant
from streams.worker.web import calls, published
from streams.worker.web.kpis import DIRECTIONS

# -- what is answered


class Problem(Struct):
    """Why there is no other answer (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str | UnsetType = UNSET
    #: Of a call that no worker holds: the partitions that were searched, of how many.
    partitions: list[int] | UnsetType = UNSET
    of: int | UnsetType = UNSET


class HeldCall(CompletedCall, kw_only=True):
    """A call that is open or remembered; what only a closed call has is absent in an open one."""

    open: bool
    opened_at: Instant
    last_event_at: Instant
    due_at: Annotated[Instant, Meta(description="When its timeout closes it, or a closed one is forgotten")]
    # It is never built: an open call may lack what a completed one has.
    revision: int | UnsetType = UNSET  # type: ignore[assignment]
    closed_by: ClosedBy | UnsetType = UNSET  # type: ignore[assignment]
    closed_at: Instant | UnsetType = UNSET  # type: ignore[assignment]


class Covered(Struct, kw_only=True):
    """Of which partitions an answer is, of how many, and what kept the others from it."""

    partitions: list[int]
    of: int
    problems: list[str]


class Age(Struct):
    """How many calls are up to so old, and not in an entry before; null: all older ones."""

    up_to_seconds: int | None
    calls: int


class OpenCalls(Covered, kw_only=True):
    """Open calls, the oldest first."""

    calls: list[HeldCall]
    total: Annotated[int, Meta(description="How many fit, listed or not")]
    ages: list[Age]
    next: Annotated[str | None, Meta(description="Given as `after` to go on; null when these are all")]


class Status(Struct, kw_only=True):
    """A worker; the others too unless it was asked for itself alone."""

    app_id: str
    address: str
    live: list[str]
    ready: list[str]
    of: int
    partitions: list[dict[str, Any]]
    others: list[dict[str, Any]] | UnsetType = UNSET
    problems: list[str] | UnsetType = UNSET


class Piece(Struct, kw_only=True):
    """How far a topic was read; `next` is given as `before` to go on, null when all was read."""

    partitions: list[int]
    of: int
    back_to: Instant | None
    next: str | None


class Place(Struct, kw_only=True):
    """Where a record lies, and its timestamp; null for none."""

    partition: int
    offset: int
    at: Instant | None


class Revision(Place, kw_only=True):
    """A completed call as it was published."""

    call: CompletedCall


class Revisions(Piece, kw_only=True):
    """The revisions of a call, the newest first; `erased` is the tombstone that follows them."""

    revisions: list[Revision]
    erased: Place | None


class Origin(Struct):
    """Where a rejected record lies."""

    topic: str
    partition: int
    offset: int


class Letter(Place, kw_only=True):
    """Why a record was rejected; `at` is when."""

    reason: str
    message: str
    path: str | None
    origin: Origin
    event_at: Instant | None


class Letters(Piece, kw_only=True):
    """Rejected records, the newest first."""

    letters: list[Letter]


class Content(Struct):
    """Bytes: indented JSON, text, or hexadecimal digits; `cut` when only the beginning is there."""

    kind: Literal["json", "text", "hex"]
    content: str
    cut: bool


class Header(Struct):
    """A header of a record."""

    name: str
    value: Content | None


class WholeLetter(Letter, kw_only=True):
    """A rejected record with what is in it."""

    key: Content | None
    headers: list[Header]
    value: Content | None
    value_bytes: int | None
    gone: Annotated[bool, Meta(description="Its value did not fit, and does not lie at its origin any more")]
    too_large: Annotated[
        bool,
        Meta(description="Its value did not fit, and takes more than the 16 MiB that are read of a record"),
    ]
    redriven: bool


class Sums(Struct, kw_only=True):
    """What KPI windows add up to; `charges` are exact decimals by currency."""

    of: Annotated[
        int | str, Meta(description="The start of the slot (epoch ms), the direction, or the country")
    ]
    attempts: int
    completed: int
    busy: int
    no_answer: int
    failed: int
    canceled: int
    timed_out: int
    answered: int
    human: int
    machine: int
    talk_ms: int
    ring_ms: int
    uncharged: int
    charges: dict[str, str]


class Kpis(Covered, kw_only=True):
    """The same windows added up by time, by direction and by destination."""

    slots: list[Sums]
    directions: list[Sums]
    countries: list[Sums]
    since_ms: int
    slot_ms: int
    window_ms: int
    remembered_ms: int


# -- what is asked


class Parameter(NamedTuple):
    """A parameter of a query or a path."""

    name: str
    about: str
    schema: Mapping[str, object]
    repeated: bool = False
    where: str = "query"

    def document(self) -> dict[str, object]:
        """The parameter object."""
        schema = {"type": "array", "items": self.schema} if self.repeated else self.schema
        return {
            "name": self.name,
            "in": self.where,
            "description": self.about,
            "required": self.where == "path",
            "schema": schema,
        }


class Route(NamedTuple):
    """What can be got at a path; `answer` is a type, or the media type of something that is no JSON."""

    summary: str
    answer: type[Struct] | str
    parameters: tuple[Parameter, ...] = ()
    #: Statuses other than 200, whose answers are problems. Where calls are told, 401 and 403 are among them.
    others: tuple[int, ...] = ()


_TEXT: Final = {"type": "string"}
_COUNTRY: Final = {"type": "string", "pattern": "^[A-Za-z]{2}$"}
_PARTITION: Final = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
_DURATION: Final = {"type": "string", "pattern": "^[1-9][0-9]{0,4}(ms|s|m|h|d)$"}
_ID: Final = Parameter(
    "id", "The id of a call, percent-encoded", {"type": "string", "minLength": 1}, where="path"
)
_PARTITIONS: Final = Parameter("partition", "Only in these partitions", _PARTITION, repeated=True)
_SINCE: Final = Parameter(
    "since",
    "Nothing from before the first record of this time or later",
    {"type": "string", "format": "date-time"},
)
_BEFORE: Final = Parameter(
    "before",
    "The `next` of a former answer",
    {"type": "string", "pattern": "^[0-9]{1,9}:[0-9]{1,18}(,[0-9]{1,9}:[0-9]{1,18})*$"},
)
_REFUSED: Final = (400, 401, 403, 503)


def _limit(usual: int, most: int) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": usual}
    return Parameter("limit", "At most so many; `next` gets more", schema)


_PIECE: Final = _limit(published.LIMIT, published.MOST)

ROUTES: Final[dict[str, Route]] = {
    "/live": Route("Whether the worker turns", "text/plain", (), (503,)),
    "/ready": Route("Whether it processes its partitions", "text/plain", (), (503,)),
    "/metrics": Route("Metrics for Prometheus", "text/plain"),
    "/status": Route("The workers and their partitions", Status),
    "/calls": Route(
        "Open calls, the oldest first",
        OpenCalls,
        (
            Parameter(
                "status", "Only of these", {"enum": ["queued", "ringing", "in-progress"]}, repeated=True
            ),
            Parameter("country", "Only with one of these at either end", _COUNTRY, repeated=True),
            Parameter("older_than", "Only those whose first event is so old", _DURATION),
            _limit(calls.LIMIT, calls.MOST),
            Parameter(
                "after", "The `next` of a former answer", {"type": "string", "pattern": "^[0-9]{1,18}:"}
            ),
        ),
        _REFUSED,
    ),
    "/calls/{id}": Route("A call that is open or remembered", HeldCall, (_ID,), (401, 403, 404, 503)),
    "/completed/{id}": Route(
        "The revisions of a call that were published",
        Revisions,
        (_ID, _PARTITIONS, _SINCE, _BEFORE, _PIECE),
        (*_REFUSED, 404),
    ),
    "/dead": Route(
        "Rejected records",
        Letters,
        (
            Parameter("key", "Only with one of these keys", _TEXT, repeated=True),
            Parameter("reason", "Only for one of these reasons", {"enum": list(REASONS)}, repeated=True),
            Parameter("path", "Only with one of these JSON paths", _TEXT, repeated=True),
            _PARTITIONS,
            _SINCE,
            _BEFORE,
            _PIECE,
        ),
        (*_REFUSED, 404),
    ),
    "/dead/{partition}:{offset}": Route(
        "A rejected record with what is in it",
        WholeLetter,
        (
            Parameter("partition", "Of the topic of dead letters", _PARTITION, where="path"),
            Parameter(
                "offset",
                "In that partition",
                {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
                where="path",
            ),
        ),
        (401, 403, 404, 503),
    ),
    "/kpis": Route(
        "KPIs of the last hours",
        Kpis,
        (
            Parameter("span", "How far back", _DURATION | {"default": "1h"}),
            Parameter("direction", "Only these", {"enum": list(DIRECTIONS)}, repeated=True),
            Parameter("country", "Only to these", _COUNTRY, repeated=True),
        ),
        _REFUSED,
    ),
    "/events": Route("The live page's events, one a second", "text/event-stream", (), (401, 503)),
    "/openapi.json": Route("This document", "application/json"),
}


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    types = [Problem, *(each.answer for each in ROUTES.values() if not isinstance(each.answer, str))]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    named = dict(zip(types, schemas, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Telefonie", "version": version("telefonie-streams"), "description": _ABOUT},
        "paths": {path: {"get": _operation(route, named)} for path, route in ROUTES.items()},
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


_ABOUT: Final = (
    "What a worker of the group answers. Call data takes the API token, or without one a client on the worker's own "
    "machine. Some paths answer with a page when HTML is preferred."
)


def _operation(route: Route, named: Mapping[object, object]) -> dict[str, object]:
    kind, schema = (
        (route.answer, {} if route.answer == "application/json" else _TEXT)
        if isinstance(route.answer, str)
        else ("application/json", named[route.answer])
    )
    plain = kind == "text/plain"
    problem = (
        {"text/plain": {"schema": _TEXT}}
        if plain
        else {"application/problem+json": {"schema": named[Problem]}}
    )
    answers: dict[str, object] = {
        "200": {"description": route.summary, "content": {kind: {"schema": schema}}}
    }
    answers |= {
        str(status): {"description": _STATUSES[status], "content": problem} for status in route.others
    }
    return {
        "summary": route.summary,
        "parameters": [each.document() for each in route.parameters],
        "responses": answers,
    }


_STATUSES: Final = {
    400: "The query cannot be understood",
    401: "It takes the API token",
    403: "Without an API token call data is served to this machine only",
    404: "There is none, as far as can be known",
    503: "Nothing certain can be said now; Retry-After says when to ask again",
}


def routes() -> Collection[web.RouteDef]:
    """The route of the document."""
    body = msgspec.json.encode(document())

    async def serve(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return (web.get("/openapi.json", serve),)
