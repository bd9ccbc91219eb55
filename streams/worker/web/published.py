"""What was published and what was rejected, over HTTP: `/completed/ID`, `/dead` and `/dead/PLACE`, from the topics.

Answers are pieces: each says how far back it has looked, and by `next` how to go on.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from streams.calls.times import instant
from streams.codecs import REASONS
from streams.kafka import reading
from streams.kafka.reading import LogRecord
from streams.operations.completed_calls import published
from streams.operations.dead_letters import (
    DeadLetter,
    DeadLetterSelection,
    Lost,
    complete,
    letter_of,
    select,
    sent_back,
)
from streams.settings import Settings
from streams.worker.web import page
from streams.worker.web.access import authorize
from streams.worker.web.calls import Lookup, limited
from streams.worker.web.look import Look, Wanted, require
from streams.worker.web.problems import Problem
from streams.worker.web.topics import Topics

_PAGE: Final = page.page("rejected")
_PAGE_OF_ONE: Final = page.page("letter")
#: Of a key, a header or a value so much is shown: characters of text, and bytes of what is none.
_TEXT_BYTES, _HEX_BYTES = 1 << 20, 1 << 14
#: Revisions or letters in an answer, unless asked for otherwise, and at most.
LIMIT, MOST = 1000, 5000
_PLACE: Final = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")


class PublishedApi:
    """The routes `/completed/{id}`, `/dead` and `/dead/{partition}:{offset}`."""

    def __init__(self, settings: Settings, lookup: Lookup) -> None:
        self._settings, self._topics = settings, Topics(settings, lookup.waiting)

    async def stop(self) -> None:
        """Answer those who wait, and close what reads."""
        await self._topics.stop()

    def routes(self) -> Collection[web.RouteDef]:
        """To be added to an application that answers a `Problem` in its shape."""
        return (
            web.get("/completed/{id:(?s:.+)}", self._completed),
            web.get("/dead", self._dead),
            web.get("/dead/{partition:[0-9]{1,9}}:{offset:[0-9]{1,18}}", self._one),
        )

    async def _completed(self, request: web.Request) -> web.Response:
        """The revisions of a call, newest first; in `erased` the tombstone that follows them, if one does."""
        authorize(request, self._settings.api_token)
        query = _Query(request, {"partition", "before", "since", "limit"})
        key = _bytes(request.match_info["id"])
        wanted = Wanted(
            topic=self._settings.completed_topic,
            match=lambda record: record,
            limit=query.limit(),
            key=key,
            keys={key},
            only=query.numbers("partition"),
            before=query.places("before"),
            since=query.moment("since"),
            enough=_is_first,
        )
        return web.json_response(body=await self._topics.look(wanted, _revisions))

    async def _dead(self, request: web.Request) -> web.Response:
        """Dead letters without what is in them, the newest first."""
        if page.wanted(request, "application/json"):
            return _PAGE()
        authorize(request, self._settings.api_token)
        query = _Query(request, {"key", "reason", "path", "partition", "before", "since", "limit"})
        since, reasons = query.moment("since"), frozenset(query.texts("reason"))
        if not reasons <= set(REASONS):
            raise _bad(f"reason takes {', '.join(REASONS)}")
        keys = frozenset(map(_bytes, query.texts("key")))
        selection = DeadLetterSelection(
            reasons=reasons, paths=frozenset(query.texts("path")), keys=keys, since=since
        )

        def match(record: LogRecord) -> DeadLetter | None:
            letter = letter_of(record)
            return letter if letter is not None and selection.holds(letter) else None

        wanted = Wanted(
            topic=self._settings.dead_topic,
            match=match,
            limit=query.limit(),
            keys=keys,
            only=query.numbers("partition"),
            before=query.places("before"),
            since=since,
        )
        return web.json_response(body=await self._topics.look(wanted, _letters))

    async def _one(self, request: web.Request) -> web.Response:
        """A dead letter with what is in it, and whether it has been sent back."""
        if page.wanted(request, "application/json"):
            return _PAGE_OF_ONE()
        authorize(request, self._settings.api_token)
        place = int(request.match_info["partition"]), int(request.match_info["offset"])
        found = await self._topics.read(self._settings.dead_topic, partial(self._found, place))
        if found is None:
            raise Problem(HTTPStatus.NOT_FOUND, "no dead letter lies at this place, or not any more")
        return web.json_response(found)

    async def _found(self, place: tuple[int, int], consumer: Any) -> dict[str, Any] | None:
        of = len(await reading.chosen(consumer, self._settings.dead_topic))
        require(self._settings.dead_topic, place[:1], of)
        selection = DeadLetterSelection(places=frozenset({place}))
        async with aclosing(select(consumer, self._settings, selection)) as letters:
            letter = await anext(letters, None)
        if letter is None:
            return None
        whole = await complete(consumer, letter)
        is_lost = isinstance(whole, Lost)
        shown = letter if isinstance(whole, Lost) else whole
        return _letter(letter) | {
            "key": _content(shown.key),
            "headers": [
                {"name": _printable(name), "value": _content(value)} for name, value in shown.headers
            ],
            "value": None if is_lost else _content(shown.value),
            "value_bytes": letter.size,
            "gone": whole is Lost.GONE,
            "too_large": whole is Lost.TOO_LARGE,
            "redriven": letter.identity in await sent_back(consumer, self._settings),
        }


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
        if not all(found):
            raise _bad(f"{name} takes the `next` of another answer")
        return {int(each[1]): int(each[2]) for each in found if each}

    def limit(self) -> int:
        """How many are asked for."""
        return limited(self._query.get("limit"), LIMIT, MOST)

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


def _revisions(look: Look[LogRecord]) -> bytes:
    newest = look.found[0] if look.found else None
    erased = None if newest is None or newest.value is not None else _place(newest)
    revisions = [_revision(each) for each in look.found]
    return _answer(look, {"revisions": [each for each in revisions if each], "erased": erased})


def _letters(look: Look[DeadLetter]) -> bytes:
    letters = sorted(look.found, key=lambda letter: (-letter.written, letter.partition, -letter.offset))
    return _answer(look, {"letters": [_letter(each) for each in letters]})


def _answer(look: Look[Any], found: dict[str, Any]) -> bytes:
    left = ",".join(f"{partition}:{offset}" for partition, offset in sorted(look.left.items()))
    return msgspec.json.encode(
        found
        | {
            "partitions": look.partitions,
            "of": look.of,
            "back_to": _instant(look.back_to),
            "next": left or None,
        }
    )


def _is_first(record: LogRecord) -> bool:
    """Whether it is the first revision of a call: before it lies nothing that its reader wants at once."""
    found = published(record)
    return found is not None and found.call.revision == 1


def _revision(record: LogRecord) -> dict[str, Any] | None:
    """A revision and where it lies; None for a tombstone, and for what is no completed call."""
    if published(record) is None or record.value is None:
        return None
    return _place(record) | {"call": msgspec.json.decode(record.value)}


def _letter(letter: DeadLetter) -> dict[str, Any]:
    said = letter.rejection
    return {
        "partition": letter.partition,
        "offset": letter.offset,
        "at": _instant(letter.written),
        "reason": said.reason,
        "message": said.message,
        "path": said.path,
        "origin": {"topic": said.topic, "partition": said.partition, "offset": said.offset},
        "event_at": _instant(letter.timestamp),
    }


def _content(data: bytes | None) -> dict[str, Any] | None:
    """Bytes for people: as indented JSON, else as text, else in hexadecimal digits; cut where there are too many."""
    if data is None:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"kind": "hex", "content": data[:_HEX_BYTES].hex(), "cut": len(data) > _HEX_BYTES}
    kind = "text"
    with suppress(msgspec.DecodeError, RecursionError):  # deep nesting is what some are rejected for
        if text[:1] in "{[" and len(data) <= _TEXT_BYTES:
            kind, text = "json", msgspec.json.format(text, indent=2)
    return {"kind": kind, "content": text[:_TEXT_BYTES], "cut": len(text) > _TEXT_BYTES}


def _printable(name: str) -> str:
    """The name of a header, also of one that is not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


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
