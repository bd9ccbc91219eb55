"""What a worker says about the calls it holds, on request (not part of the message path)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from heapq import nsmallest
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from streams.calls.numbers import country
from streams.calls.partition import CallsPartition
from streams.calls.revision import facts, record
from streams.calls.state import CallState
from streams.calls.times import instant

#: The fields of a CompletedCall that an open call does not have yet.
_OF_CLOSED = ("revision", "closed_by", "closed_at")


#: Seconds since the first event of a call, by which open calls are grouped.
AGES: Final = (60, 300, 900, 3_600, 21_600, 86_400)
_AGES_MS: Final = [1000 * seconds for seconds in AGES]

#: States that are counted before another thread gets its turn: under a millisecond.
_PIECE = 5_000


@dataclass(frozen=True, kw_only=True)
class OpenSelection:
    """Which open calls: those that meet every condition; an empty condition is always met.

    `before` is the latest event time (epoch ms) of a call's first event; `countries` are those at either end. Only
    calls behind `after`, a first event time (epoch ms) and an id, are listed, but all that meet the conditions are
    counted.
    """

    statuses: frozenset[str] = frozenset()
    countries: frozenset[str] = frozenset()
    before: int | None = None
    after: tuple[int, bytes] = (-1, b"")

    @property
    def is_everything(self) -> bool:
        """Whether every call fits."""
        return not self.statuses and not self.countries and self.before is None

    def holds(self, state: CallState) -> bool:
        """Whether a call is one of them."""
        return (
            (not self.statuses or state.status in self.statuses)
            and (self.before is None or state.first_seen <= self.before)
            and (
                not self.countries or not self.countries.isdisjoint((country(state.from_), country(state.to)))
            )
        )


def describe(partition: CallsPartition, call_id: str) -> dict[str, Any] | None:
    """A call that is open or still remembered, with the field names of a CompletedCall; None for any other.

    `open` says which of the two it is; `opened_at` and `last_event_at` are event times; `due_at` is the stream time
    after which the call is closed by its timeout, or forgotten.
    """
    try:
        state = partition.find(call_id)
    except UnicodeEncodeError:  # a lone surrogate: no record has such an id
        return None
    if state is None:
        return None
    if state.closed_at is None:
        return _document(partition, call_id, state, state.last + partition.rules.call_timeout)
    forgotten = state.closed_at + partition.rules.call_retention
    if forgotten < partition.ledger.stream_time:
        return None
    return _document(partition, call_id, state, forgotten)


class Chosen(NamedTuple):
    """Open calls of a selection."""

    #: The oldest: first event time (epoch ms) and id.
    oldest: list[tuple[int, bytes]]
    #: How many calls are at most as old as each of `AGES`, not counting those in the groups before; last, those that
    #: are older.
    ages: list[int]


class OpenPage(NamedTuple):
    """A page of a worker's open calls, the oldest first."""

    calls: list[dict[str, Any]]
    #: As in `Chosen`, of all that fit.
    ages: list[int]
    #: The place up to which the page goes: what lies behind it is on others. None when nothing does.
    next: tuple[int, bytes] | None = None


class OpenCalls(NamedTuple):
    """The open calls of a partition at one moment, for a scan that takes a while: ids and states."""

    ids: list[bytes]
    states: list[CallState]

    @classmethod
    def of(cls, partition: CallsPartition) -> OpenCalls:
        """The open calls of a partition, now."""
        return cls(list(partition.open), list(partition.open.values()))

    def chosen(self, selection: OpenSelection, limit: int, now: int) -> Chosen:
        """The open calls of a selection, with ages at `now` (epoch ms)."""
        ages = [0] * (len(AGES) + 1)

        def fitting() -> Iterator[tuple[int, bytes]]:
            everything = selection.is_everything
            for key, state in zip(self.ids, self.states, strict=True):
                if everything or selection.holds(state):
                    first = state.first_seen
                    ages[bisect_left(_AGES_MS, now - first)] += 1
                    if (first, key) > selection.after:
                        yield first, key

        return Chosen(nsmallest(limit, fitting()), ages)

    def oldest(self, limit: int) -> list[tuple[int, bytes]]:
        """The calls whose first event is earliest: its time (epoch ms) and the id."""
        return nsmallest(limit, zip(map(attrgetter("first_seen"), self.states), self.ids, strict=True))

    def by_status(self) -> Counter[str]:
        """How many calls there are of each status."""
        found = Counter[str]()
        for start in range(0, len(self.states), _PIECE):
            found.update(map(attrgetter("status"), self.states[start : start + _PIECE]))
        return found


def _document(partition: CallsPartition, call_id: str, state: CallState, due: int) -> dict[str, Any]:
    is_open = state.closed_at is None
    shown = copy(state)
    shown.closed_at = state.closed_at or 0
    said = record(call_id, shown, facts(call_id, state), partition.source(state.offset))
    document: dict[str, Any] = msgspec.to_builtins(said)
    for name in _OF_CLOSED if is_open else ():
        del document[name]
    return document | {
        "open": is_open,
        "opened_at": instant(state.first_seen),
        "last_event_at": instant(state.last),
        "due_at": instant(due),
    }
