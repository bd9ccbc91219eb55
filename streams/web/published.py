"""What was published and what was rejected, over HTTP: `/completed/ID` and `/dead`, read from the topics.

Answers are pieces: each says how far back it has looked, and by `next` how to go on.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from streams.calls.times import instant
from streams.completed import published
from streams.deadletters import DeadLetter, Selection, letter_of
from streams.reading import LogRecord
from streams.settings import Settings
from streams.web.access import authorize
from streams.web.problems import Problem
from streams.web.topics import Look, Topics

_PLACE: Final = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")


class PublishedApi:
    """The routes `/completed/{id}` and `/dead`."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._topics = settings, Topics(settings)

    def routes(self) -> Collection[web.RouteDef]:
        """To be added to an application that answers a `Problem` in its shape."""
        return web.get("/completed/{id:.+}", self._completed), web.get("/dead", self._dead)

    async def _completed(self, request: web.Request) -> web.Response:
        """The revisions of a call, newest first; in `erased` the tombstone that follows them, if one does."""
        authorize(request, self._settings.api_token)
        query = _Query(request, {"partition", "before", "since"})
        key = _bytes(request.match_info["id"])

        def match(record: LogRecord) -> LogRecord | None:
            return record if record.key == key else None

        look = await self._topics.look(
            self._settings.completed_topic,
            match,
            key=key,
            only=query.numbers("partition"),
            before=query.places("before"),
            since=query.moment("since"),
        )
        newest = look.found[0] if look.found else None
        erased = None if newest is None or newest.value is not None else _place(newest)
        revisions = [_revision(each) for each in look.found]
        return _answer(look, {"revisions": [each for each in revisions if each], "erased": erased})

    async def _dead(self, request: web.Request) -> web.Response:
        """Dead letters without what is in them, the newest first."""
        authorize(request, self._settings.api_token)
        query = _Query(request, {"key", "reason", "partition", "before", "since"})
        selection = Selection(
            reasons=frozenset(query.texts("reason")), keys=frozenset(map(_bytes, query.texts("key")))
        )

        def match(record: LogRecord) -> tuple[LogRecord, DeadLetter] | None:
            letter = letter_of(record)
            return (record, letter) if letter is not None and selection.holds(letter) else None

        look = await self._topics.look(
            self._settings.dead_topic,
            match,
            only=query.numbers("partition"),
            before=query.places("before"),
            since=query.moment("since"),
        )
        letters = [_letter(*each) for each in sorted(look.found, key=lambda each: -each[0].timestamp)]
        return _answer(look, {"letters": letters})


class _Query:
    """The parameters of a request. Raises Problem for those that cannot be understood."""

    def __init__(self, request: web.Request, known: set[str]) -> None:
        if set(request.query) - known:
            raise _bad(f"there are the parameters {', '.join(sorted(known))}, and another is given")
        self._query = request.query

    def texts(self, name: str) -> list[str]:
        """All values of a parameter."""
        return self._query.getall(name, [])

    def numbers(self, name: str) -> list[int]:
        """Partitions."""
        texts = self.texts(name)
        if not all(text.isascii() and text.isdecimal() and len(text) < 10 for text in texts):
            raise _bad(f"{name} takes the number of a partition")
        return [int(text) for text in texts]

    def places(self, name: str) -> dict[int, int] | None:
        """Of each partition an offset, as an answer's `next` has them."""
        if (text := self._query.get(name)) is None:
            return None
        found = [_PLACE.fullmatch(part) for part in text.split(",")]
        places = {int(each[1]): int(each[2]) for each in found if each}
        if len(places) < len(found):
            raise _bad(f"{name} takes the `next` of another answer")
        return places

    def moment(self, name: str) -> int | None:
        """A time, in epoch ms."""
        if (text := self._query.get(name)) is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                raise ValueError
            return int(moment.timestamp() * 1000)
        except (ValueError, OverflowError):
            raise _bad(f"{name} takes an RFC 3339 time such as 2026-11-25T00:00:00Z") from None


def _answer(look: Look[Any], found: dict[str, Any]) -> web.Response:
    left = ",".join(f"{partition}:{offset}" for partition, offset in sorted(look.left.items()))
    return web.json_response(
        found
        | {
            "partitions": look.partitions,
            "of": look.of,
            "back_to": _instant(look.back_to),
            "next": left or None,
        }
    )


def _revision(record: LogRecord) -> dict[str, Any] | None:
    """A revision and where it lies; None for a tombstone, and for what is no completed call."""
    if published(record) is None or record.value is None:
        return None
    return _place(record) | {"call": msgspec.json.decode(record.value)}


def _letter(record: LogRecord, letter: DeadLetter) -> dict[str, Any]:
    said = letter.rejection
    event = record.timestamp if said.timestamp is None else said.timestamp
    return _place(record) | {
        "reason": said.reason,
        "message": said.message,
        "path": said.path,
        "origin": {"topic": said.topic, "partition": said.partition, "offset": said.offset},
        "event_at": _instant(event),
    }


def _place(record: LogRecord) -> dict[str, Any]:
    """Where a record lies, and its timestamp."""
    return {"partition": record.partition, "offset": record.offset, "at": _instant(record.timestamp)}


def _instant(moment: int | None) -> str | None:
    return None if moment is None or moment < 0 else instant(moment)


def _bytes(text: str) -> bytes:
    """The key that a text stands for. Of one with a lone surrogate there is no record."""
    return text.encode("utf-8", "surrogatepass")


def _bad(detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, detail)
