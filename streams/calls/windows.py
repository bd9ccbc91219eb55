"""KPI windows: tumbling, by the moment of closing, per direction and destination (semantics, section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeAlias

import msgspec

from streams.calls.completed import Facts
from streams.calls.deadlines import Spans
from streams.calls.money import Charges
from streams.calls.state import SEEN, CallState
from streams.calls.times import instant
from streams.codecs import Direction, KpiWindow, encode_kpi, exact_seconds

#: The country of a window whose calls go to no known region.
UNKNOWN_COUNTRY: Final = "ZZ"


WindowKey: TypeAlias = tuple[int, Direction, str]
"""Start in epoch ms, direction, ISO 3166-1 alpha-2 country of the destination."""


@dataclass(slots=True)
class Window:
    """The sums of one window; seconds are kept as whole milliseconds. The names are the changelog's format."""

    attempts: int = 0
    completed: int = 0
    busy: int = 0
    no_answer: int = 0
    failed: int = 0
    canceled: int = 0
    timed_out: int = 0
    answered: int = 0
    human: int = 0
    machine: int = 0
    talk_ms: int = 0
    ring_ms: int = 0
    charges: Charges = field(default_factory=Charges)
    uncharged: int = 0


_SUMS: Final = tuple(each.name for each in fields(Window) if each.name != "charges")


def _encode_charges(charges: Any) -> Any:
    return charges.state()


def _decode_charges(_: type, state: Any) -> Any:
    return Charges(state)


encode_window = msgspec.msgpack.Encoder(enc_hook=_encode_charges).encode
decode_window = msgspec.msgpack.Decoder(Window, dec_hook=_decode_charges).decode


class Windows:
    """All windows of one partition that are still remembered."""

    def __init__(self, width: int, retention: int, partition: int) -> None:
        self.width, self.retention, self.partition = width, retention, partition
        self._windows: dict[WindowKey, Window] = {}
        self._spans: Spans[WindowKey] = Spans(width)
        #: Changed since the last cut.
        self._changed: set[WindowKey] = set()
        #: Not published since they last changed, as of the last cut.
        self._unpublished: set[WindowKey] = set()

    def add(self, state: CallState, found: Facts) -> None:
        """Count a closed call in its window."""
        self._count(state, found, 1)

    def amend(self, before: CallState, old: Facts, after: CallState, new: Facts) -> None:
        """Take a closed call out of its window, as it was counted, and count it as it is now."""
        if _counted(before, old) != _counted(after, new):
            self._count(before, old, -1)
            self._count(after, new, 1)

    def _count(self, state: CallState, found: Facts, n: int) -> None:
        assert state.closed_at is not None, "only closed calls are counted"
        start = state.closed_at - state.closed_at % self.width
        key = start, state.direction, found.to_country or UNKNOWN_COUNTRY
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = Window()
            self._spans.add(start, key)
        self._changed.add(key)
        window.attempts += n
        if state.timed_out:
            window.timed_out += n
        else:
            outcome = SEEN[state.status]
            setattr(window, outcome, getattr(window, outcome) + n)
        if found.answered:
            window.answered += n
        if state.answered_by == "human":
            window.human += n
        elif state.answered_by == "machine":
            window.machine += n
        if found.talk_ms:
            window.talk_ms += n * found.talk_ms
        if found.ring_ms:
            window.ring_ms += n * found.ring_ms
        if found.charge is not None:
            change = window.charges.add if n > 0 else window.charges.subtract
            change(*found.charge)
        elif found.uncharged:
            window.uncharged += n

    def published(self, now: int) -> list[tuple[bytes, bytes, int]]:
        """Key, value and timestamp of the windows that have ended at stream time `now`, not yet published."""
        self._unpublished |= self._changed
        ended = sorted(key for key in self._unpublished if key[0] + self.width <= now)
        self._unpublished.difference_update(ended)
        return [self._record(key, self._windows[key]) for key in ended]

    def rows(self, now: int) -> Iterator[tuple[WindowKey, bytes | None]]:
        """What changed since the last cut, for the changelog; forgets what is past its time at `now`."""
        for _, keys in self._spans.take(now - self.width - self.retention):
            for key in keys:
                self._windows.pop(key, None)
                self._changed.add(key)
        for key in self._changed:
            window = self._windows.get(key)
            yield key, None if window is None else encode_window(window)
        self._changed.clear()

    def restore(self, key: WindowKey, value: bytes | None, now: int) -> None:
        """Take over a row of the changelog that was current at stream time `now`."""
        if value is None:
            self._windows.pop(key, None)
            return
        self._windows[key] = decode_window(value)
        self._spans.add(key[0], key)
        if key[0] + self.width > now:  # one that had ended was published in the same cut
            self._unpublished.add(key)

    def sums(self, start: int) -> dict[str, int]:
        """What the windows that start then add up to, over directions and countries; without money. Empty: none do."""
        windows = [self._windows[key] for key in set(self._spans.at(start)) & self._windows.keys()]
        return {name: sum(getattr(each, name) for each in windows) for name in _SUMS} if windows else {}

    def __len__(self) -> int:
        return len(self._windows)

    def _record(self, key: WindowKey, window: Window) -> tuple[bytes, bytes, int]:
        moment, direction, country = key
        start, end = instant(moment), moment + self.width
        value = KpiWindow(
            start,
            instant(end),
            direction,
            country,
            self.partition,
            window.attempts,
            window.completed,
            window.busy,
            window.no_answer,
            window.failed,
            window.canceled,
            window.timed_out,
            window.answered,
            window.human,
            window.machine,
            exact_seconds(window.talk_ms),
            exact_seconds(window.ring_ms),
            window.charges.texts(),
            window.uncharged,
        )
        name = f"{start}/{direction}/{country}/{self.partition}"
        return name.encode(), encode_kpi(value), end


def _counted(state: CallState, found: Facts) -> tuple[object, ...]:
    """What a window sees of a call: that it stays the same is common, the rest need not be quick then."""
    return (
        state.status,
        state.timed_out,
        state.answered_by,
        found.answered,
        found.talk_ms,
        found.ring_ms,
        found.charge,
        found.uncharged,
    )
