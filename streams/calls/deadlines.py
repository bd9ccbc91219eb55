"""When calls fall due: calendar queues that cost one list slot per call instead of a heap entry.

A timeout is hours away, and nearly every call ends long before it; a closed call is forgotten a day later. So a call
waits in a list for a coarse span of time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Final, Generic, TypeAlias, TypeVar

#: No deadline: greater than every stream time.
NEVER: Final = 1 << 62
#: This many keys without a deadline may wait.
_FEW: Final = 10_000

K = TypeVar("K")


class Spans(Generic[K]):
    """Keys by moment (ms), grouped into spans of `width` ms."""

    def __init__(self, width: int) -> None:
        self.width = max(1, width)
        self._keys: dict[int, list[K]] = {}
        self._starts: list[int] = []  # a heap
        #: How many keys wait.
        self.size = 0

    def add(self, moment: int, key: K) -> int:
        """Put `key` into the span of `moment`; returns the start of the span."""
        start = moment - moment % self.width
        keys = self._keys.get(start)
        if keys is None:
            self.extend(start, [key])
        else:
            keys.append(key)
            self.size += 1
        return start

    def extend(self, start: int, keys: list[K]) -> None:
        """Put many keys into the span with this start."""
        known = self._keys.get(start)
        if known is None:
            self._keys[start] = keys
            heappush(self._starts, start)
        else:
            known += keys
        self.size += len(keys)

    def take(self, before: int) -> Iterator[tuple[int, list[K]]]:
        """Remove the spans that start before a moment, in order, with their starts."""
        while self._starts and self._starts[0] < before:
            start = heappop(self._starts)
            keys = self._keys.pop(start)
            self.size -= len(keys)
            yield start, keys

    def filter(self, start: int, holds: Callable[[K], bool]) -> None:
        """Drop the keys of one span that no longer have a deadline."""
        keys = self._keys.get(start, [])
        kept = [key for key in keys if holds(key)]
        self.size -= len(keys) - len(kept)
        keys[:] = kept

    @property
    def starts(self) -> list[int]:
        """The starts of all spans."""
        return list(self._starts)

    def at(self, start: int) -> list[K]:
        """The keys of the span with this start."""
        return self._keys.get(start, [])

    @property
    def first(self) -> int:
        """The start of the first span, NEVER if there is none."""
        return self._starts[0] if self._starts else NEVER


DueOf: TypeAlias = Callable[[bytes], int | None]
"""The actual moment of a key, which its owner may have moved since it was added; None if it no longer has a
deadline."""


class Deadlines:
    """Keys by the moment they fall due (ms), taken out in the order (due, key).

    Only the owner knows the actual moment of a key, so `DueOf` is called when its entry comes up. It is an argument of
    each call rather than an attribute: with a reference back, only the garbage collector could free the owner. Keys are
    put into an exact heap only when stream time reaches their span, one span after the other.
    """

    def __init__(self, width: int) -> None:
        self._far: Spans[bytes] = Spans(width)
        self._near: list[tuple[int, bytes]] = []  # a heap
        self._end_of_near = -NEVER
        #: Starts of the spans that `prune` visits next.
        self._to_prune: list[int] = []
        #: A moment before which nothing can be due: the message path looks at nothing else.
        self.next = NEVER

    def add(self, due: int, key: bytes) -> None:
        """Add `key`, which falls due at `due`."""
        if due < self._end_of_near:
            heappush(self._near, (due, key))
            start = due
        else:
            start = self._far.add(due, key)
        if start < self.next:
            self.next = start

    def pop(self, now: int, due_of: DueOf) -> tuple[int, bytes] | None:
        """Take the first key whose moment `now` has passed (is greater than), with that moment; else None."""
        if self.first(now, due_of) is None:
            return None
        return heappop(self._near)

    def first(self, now: int, due_of: DueOf) -> int | None:
        """The moment of the first key, if `now` has passed it (is greater than it); else None."""
        while self._bring_near(now, due_of) and self._near[0][0] < now:
            due, key = self._near[0]
            moved = due_of(key)
            if moved == due:
                return due
            heappop(self._near)
            if moved is not None:
                self.add(moved, key)
        self.next = min(self._near[0][0] if self._near else NEVER, self._far.first)
        return None

    def prune(self, living: int, due_of: DueOf) -> None:
        """Drop keys without a deadline from one more span, if more than half of all keys have none.

        A call that has ended no longer needs its deadline, hours before it. `living` is the number of keys with a
        deadline.
        """
        if self._far.size < 2 * living + _FEW:
            return
        if not self._to_prune:
            self._to_prune = self._far.starts
        if self._to_prune:
            self._far.filter(self._to_prune.pop(), lambda key: due_of(key) is not None)

    def _bring_near(self, now: int, due_of: DueOf) -> bool:
        """Put spans that `now` has reached into the heap until its first key is the first of all; False if there is
        none."""
        while self._far.first < now and (not self._near or self._far.first <= self._near[0][0]):
            start, keys = next(self._far.take(now))
            self._end_of_near = start + self._far.width
            for key in keys:
                if (moved := due_of(key)) is not None:
                    self.add(moved, key)
        return bool(self._near)
