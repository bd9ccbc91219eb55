"""Closed calls that are still remembered (semantics, section 4), in memory; `stored` has those in a store on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

from streams.calls.deadlines import Spans
from streams.calls.state import CallState, decode_state, read_closed_at
from streams.records import Row

Urls: TypeAlias = tuple[str | None, str | None]

#: Changelog rows of KPI windows begin with this byte; no id can, since ids are UTF-8.
WINDOW_ROW: Final = b"\xffwindow "


class Closed(ABC):
    """The closed calls of one partition, by id."""

    def get(self, call_id: bytes) -> CallState | None:
        """The state of a call; None if it is not remembered."""
        packed = self.packed(call_id)
        return None if packed is None else decode_state(packed)

    def closed_at(self, call_id: bytes) -> int | None:
        """When a call closed; None if it is not remembered."""
        packed = self.packed(call_id)
        return None if packed is None else read_closed_at(packed)

    @abstractmethod
    def packed(self, call_id: bytes) -> bytes | None:
        """The encoded state of a call; None if it is not remembered."""

    @abstractmethod
    def retain(self, call_id: bytes, closed_at: int) -> None:
        """Note that a call closed at a moment (epoch ms): from then on it waits to be forgotten."""

    @abstractmethod
    def put(self, call_id: bytes, packed: bytes) -> None:
        """Remember the present state of a call; `packed` is that state, encoded."""

    @abstractmethod
    def forget(self, call_id: bytes, closed_at: int) -> None:
        """Forget a call that is remembered."""

    @abstractmethod
    def restore(self, rows: Iterable[Row]) -> None:
        """Take over the states of calls from the changelog; None means that a call is not closed, or no longer
        remembered."""

    @abstractmethod
    def past(self, horizon: int, most: int) -> Iterator[tuple[bytes, int]]:
        """Calls that closed before a moment (epoch ms), each with its own moment: `most` at a time, all of them in the
        end."""

    @abstractmethod
    def all(self) -> Iterator[tuple[bytes, int]]:
        """Every closed call, with the moment at which it closed (epoch ms); they may be forgotten meanwhile."""

    @abstractmethod
    def stored(self, rows: Iterable[Row]) -> list[Row]:
        """What a store has to take over once these rows have been written to the changelog."""

    @abstractmethod
    def __len__(self) -> int: ...


class ClosedCalls(Closed):
    """In memory, in a fifth of the space of their states: as bytes, with each pair of URLs stored once.

    A call is stored as its changelog value. The last two fields, `url` and `status_callback`, are nearly half of that
    and are the same in most calls, so they are replaced by the number of the pair.
    """

    def __init__(self, span: int) -> None:
        """`span` is how coarsely, in ms, calls wait to be forgotten."""
        self._calls: dict[bytes, bytes] = {}
        self._retained: Spans[bytes] = Spans(span)
        #: The calls of a past span that `past` returns next.
        self._passing: list[bytes] = []
        #: Encoded pairs of URLs by their number; 0 is for calls that are kept whole.
        self._tails: list[bytes] = [b""]
        self._numbers: dict[Urls, int] = {}
        #: The number of the latest pair that ends in these bytes, and of the latest pair of all.
        self._by_end: dict[bytes, int] = {}
        self._latest = 0

    def packed(self, call_id: bytes) -> bytes | None:
        """See `Closed`."""
        kept = self._calls.get(call_id)
        if kept is None:
            return None
        return kept[:-_NUMBER_SIZE] + self._tails[int.from_bytes(kept[-_NUMBER_SIZE:], "big")]

    def retain(self, call_id: bytes, closed_at: int) -> None:
        """See `Closed`."""
        self._retained.add(closed_at, call_id)

    def put(self, call_id: bytes, packed: bytes) -> None:
        """See `Closed`."""
        self._calls[call_id] = self._shortened(packed)

    def forget(self, call_id: bytes, _closed_at: int) -> None:
        """See `Closed`."""
        self._calls.pop(call_id, None)

    def restore(self, rows: Iterable[Row]) -> None:
        """See `Closed`. A restart waits for this, so it does not call `retain` for each row, but appends to one list
        per span."""
        calls, width = self._calls, self._retained.width
        retained: defaultdict[int, list[bytes]] = defaultdict(list)
        for call_id, packed in rows:
            if packed is None or (moment := read_closed_at(packed)) is None:
                calls.pop(call_id, None)
                continue
            if call_id not in calls or moment != self.closed_at(call_id):
                retained[moment - moment % width].append(call_id)
            calls[call_id] = self._shortened(packed)
        for start, call_ids in retained.items():
            self._retained.extend(start, call_ids)

    def past(self, horizon: int, most: int) -> Iterator[tuple[bytes, int]]:
        """See `Closed`; span by span."""
        for _ in range(most):
            if not self._passing:
                span = next(self._retained.take(horizon - self._retained.width), None)
                if span is None:
                    return
                self._passing = span[1]
            call_id = self._passing.pop()
            # It may have been forgotten and have begun again since.
            moment = self.closed_at(call_id)
            if moment is not None and moment < horizon:
                yield call_id, moment

    def all(self) -> Iterator[tuple[bytes, int]]:
        """See `Closed`."""
        for call_id in list(self._calls):
            if (moment := self.closed_at(call_id)) is not None:
                yield call_id, moment

    def stored(self, _rows: Iterable[Row]) -> list[Row]:
        """Nothing: there is no store."""
        return []

    def __len__(self) -> int:
        return len(self._calls)

    def _shortened(self, packed: bytes) -> bytes:
        """An encoded state, with the number of its URLs in their place."""
        number = self._latest
        if number == 0 or not packed.endswith(self._tails[number]):
            number = self._latest = self._number(packed)
        return packed[: len(packed) - len(self._tails[number])] + number.to_bytes(_NUMBER_SIZE, "big")

    def _number(self, packed: bytes) -> int:
        """The number of the URLs in an encoded state, which is decoded only if their end is unknown or not unique."""
        if packed.endswith(_NO_URLS):
            return 0
        end = packed[-_END_SIZE:]
        number = self._by_end.get(end, 0)
        if number == 0 or not packed.endswith(self._tails[number]):
            number = self._number_of(decode_state(packed))
            if len(self._tails[number]) >= _END_SIZE:
                self._by_end[end] = number
        return number

    def _number_of(self, state: CallState) -> int:
        urls = state.url, state.status_callback
        number = self._numbers.get(urls)
        if number is None:
            if len(self._tails) > _MOST_PAIRS or sum(len(url or "") for url in urls) > _LONGEST_PAIR:
                return 0
            number = self._numbers[urls] = len(self._tails)
            self._tails.append(b"".join(map(msgspec.msgpack.encode, urls)))
        return number


_NUMBER_SIZE: Final = 2
_END_SIZE: Final = 32
#: The end of the state of a call without URLs: two nils, which no string ends with.
_NO_URLS: Final = b"\xc0\xc0"
_MOST_PAIRS: Final = 4096  # if each call has URLs of its own, there is nothing to share
_LONGEST_PAIR: Final = 1024  # so that all of them take a few megabytes at most
