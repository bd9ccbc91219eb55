"""KPI windows: tumbling, by the moment of closing, per direction and destination (semantics, section 6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import gcd, lcm
from typing import Any, Final, TypeAlias

import msgspec

from streams.calls.deadlines import Spans
from streams.calls.money import Charges
from streams.calls.revision import Facts
from streams.calls.state import SEEN, CallState
from streams.calls.times import instant
from streams.codecs import Direction, KpiWindow, encode_kpi, exact_seconds

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


_encode = msgspec.msgpack.Encoder(enc_hook=_encode_charges).encode
#: Not strict, so that digits are read as a number: see `encode_window`.
decode_window = msgspec.msgpack.Decoder(Window, strict=False, dec_hook=_decode_charges).decode


def encode_window(window: Window) -> bytes:
    """A changelog row. Numbers beyond MessagePack's 64 bits are written as digits."""
    if window.talk_ms.bit_length() < 64 and window.ring_ms.bit_length() < 64:
        return _encode(window)
    sums = {each.name: getattr(window, each.name) for each in fields(window)}
    return _encode(sums | {"talk_ms": str(window.talk_ms), "ring_ms": str(window.ring_ms)})


class Windows:
    """All windows of one partition that are still remembered.

    Their width may change from one start to the next: each of `widths` applies from a `closed_at` on.
    """

    def __init__(self, width: int, retention: int, partition: int) -> None:
        """`width` applies to a partition without windows; `retention` is how long a window is remembered. Both are in
        ms."""
        self.widths = [(0, width)]
        self.retention, self.partition = retention, partition
        #: The end of the last window that ever existed (epoch ms).
        self.end = 0
        self._windows: dict[WindowKey, Window] = {}
        #: By the moment at which they end.
        self._ends: Spans[WindowKey] = Spans(1)
        #: Changed since the last checkpoint.
        self._changed: set[WindowKey] = set()
        #: Not published since they last changed, at the last checkpoint.
        self._unpublished: set[WindowKey] = set()

    def width(self, moment: int) -> int:
        """The width of the window that counts a call that closed then."""
        for start, width in reversed(self.widths):
            if moment >= start:
                return width
        return self.widths[0][1]

    def key(self, closed_at: int, direction: Direction, country: str) -> WindowKey:
        """The key of the window in which a call is counted."""
        start, width = self.widths[-1]
        if closed_at < start:
            width = self.width(closed_at)
        return closed_at - closed_at % width, direction, country

    def add(self, key: WindowKey, state: CallState, found: Facts) -> None:
        """Count a call that has closed."""
        window = self._windows.get(key)
        if window is None:
            end = key[0] + self.width(key[0])
            window = self._windows[key] = Window()
            self._ends.add(end, key)
            self.end = max(self.end, end)
        if found.charge is not None:
            window.charges.move(None, found.charge)
        _count(window, state, found, 1)
        self._changed.add(key)

    def amend(self, key: WindowKey, before: CallState, old: Facts, after: CallState, new: Facts) -> None:
        """Count a closed call as it is now instead of as it was counted; does nothing if its window is forgotten."""
        window = self._windows.get(key)
        if window is not None and _counted(before, old) != _counted(after, new):
            window.charges.move(old.charge, new.charge)  # first: nothing after it can fail
            _count(window, before, old, -1)
            _count(window, after, new, 1)
            self._changed.add(key)

    def published(self, now: int) -> list[tuple[bytes, bytes, int]]:
        """Key, value and timestamp of the windows that have ended at stream time `now`, not yet published."""
        self._unpublished |= self._changed
        ended = sorted(key for key in self._unpublished if key[0] + self.width(key[0]) <= now)
        self._unpublished.difference_update(ended)
        return [self._record(key, self._windows[key]) for key in ended]

    def rows(self, now: int) -> Iterator[tuple[WindowKey, bytes | None]]:
        """What changed since the last checkpoint, for the changelog; forgets windows that are past at `now`."""
        for _, keys in self._ends.take(now - self.retention):
            for key in keys:
                self._windows.pop(key, None)
                self._changed.add(key)
            if len(self._changed) > _AT_ONCE:
                break  # the next checkpoint continues
        for key in self._changed:
            window = self._windows.get(key)
            yield key, None if window is None else encode_window(window)
        self._changed.clear()

    def restore(
        self, rows: Mapping[WindowKey, bytes], widths: Sequence[tuple[int, int]], last: int, now: int
    ) -> None:
        """Take over the changelog rows, with their widths, at the last checkpoint, which was at `now`.

        `last` is the end of the last window, forgotten ones included. Release 0.1 wrote neither; it had one width,
        which is assumed to be unchanged if all windows fit it.
        """
        if rows and not widths:
            common = gcd(*(start for start, *_ in rows))
            widths = [(0, self.widths[0][1] if common % self.widths[0][1] == 0 else common)]
        width, self.widths = self.widths[-1][1], list(widths) or self.widths
        for key, value in rows.items():
            self._windows[key] = decode_window(value)
            end = key[0] + self.width(key[0])
            self._ends.add(end, key)
            last = max(last, end)
            if end > now:  # a window that had ended was published in the same checkpoint
                self._unpublished.add(key)
        self.end = last
        self._change_to(width)

    def _change_to(self, width: int) -> None:
        """Use this width from the first moment at which it cuts no other window short.

        That is a boundary of both widths, at or past the end of every window so far (semantics, section 4).
        """
        while len(self.widths) > 1 and self.widths[-1][0] >= self.end:
            self.widths.pop()  # nothing has been counted by it
        start, former = self.widths[-1]
        if width == former:
            return
        both = lcm(width, former)
        boundary = -(-max(self.end, start) // both) * both
        if boundary == start:
            self.widths.pop()
        self.widths.append((boundary, width))

    def sums(self, start: int) -> dict[str, int]:
        """The sums of the windows with this start, over directions and countries, without money. Empty if there are
        none."""
        keys = {key for key in self._ends.at(start + self.width(start)) if key[0] == start}
        windows = [self._windows[key] for key in keys & self._windows.keys()]
        return {name: sum(getattr(each, name) for each in windows) for name in _SUMS} if windows else {}

    def now(self) -> list[tuple[WindowKey, Window]]:
        """All windows at one moment, for a scan that takes a while."""
        return list(self._windows.items())

    def __len__(self) -> int:
        return len(self._windows)

    def _record(self, key: WindowKey, window: Window) -> tuple[bytes, bytes, int]:
        moment, direction, country = key
        start, end = instant(moment), moment + self.width(moment)
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


#: How many windows one checkpoint forgets, so that no checkpoint takes long.
_AT_ONCE: Final = 20_000


def _count(window: Window, state: CallState, found: Facts, n: int) -> None:
    """Count a call `n` times, except for its charge."""
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
    if found.uncharged:
        window.uncharged += n


def _counted(state: CallState, found: Facts) -> tuple[object, ...]:
    """What a window uses of a call: it usually stays the same, and then the rest need not be fast."""
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
