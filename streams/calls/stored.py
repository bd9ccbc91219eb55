"""Closed calls that are still remembered, in a store on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from streams.calls.closed import WINDOW_ROW, Closed
from streams.calls.state import is_open, read_closed_at
from streams.records import Row, Rows


class StoredCalls(Closed):
    """In a store: memory holds only the calls that are on their way into it.

    The store has five kinds of rows, distinguished by their first byte: closed calls by id; when they closed (to find
    those that are past); their number; and, to restore them after a restart, open calls and KPI windows.
    """

    def __init__(self, store: Rows) -> None:
        self._store = store
        #: Closed calls that changed since the last checkpoint, and those of that checkpoint, which may not be written
        #: yet.
        self._fresh: dict[bytes, bytes | None] = {}
        self._handed: dict[bytes, bytes | None] = {}
        #: Other rows for the next checkpoint, and which of them delete rows of `_CLOSED_AT`.
        self._rows: list[Row] = []
        self._gone: set[bytes] = set()
        self._count = self._counted = int(store.get(_COUNT) or 0)
        #: There are no rows of `_CLOSED_AT` before this key: reading there would only pass over deleted ones.
        self._first = _CLOSED_AT

    def kept(self) -> Iterator[tuple[bytes, bytes]]:
        """Rows of the changelog that are kept in memory: open calls and KPI windows."""
        for kind in (_OPEN, _WINDOW):
            for key, value in self._store.scan(kind, _after(kind)):
                yield key[1:], value

    def packed(self, call_id: bytes) -> bytes | None:
        """See `Closed`."""
        for recent in (self._fresh, self._handed):
            if call_id in recent:
                return recent[call_id]
        return self._store.get(_CLOSED + call_id)

    def retain(self, call_id: bytes, closed_at: int) -> None:
        """See `Closed`."""
        key = _moment(closed_at) + call_id
        self._count += 1
        self._first = min(self._first, key)
        self._rows += ((key, b""), (_OPEN + call_id, None))

    def put(self, call_id: bytes, packed: bytes) -> None:
        """See `Closed`."""
        self._fresh[call_id] = packed

    def forget(self, call_id: bytes, closed_at: int) -> None:
        """See `Closed`."""
        key = _moment(closed_at) + call_id
        self._count -= 1
        self._fresh[call_id] = None
        self._rows.append((key, None))
        self._gone.add(key)

    def restore(self, rows: Iterable[Row]) -> None:
        """See `Closed`."""
        for call_id, packed in rows:
            former = self.closed_at(call_id)
            moment = None if packed is None else read_closed_at(packed)
            if former is not None and former != moment:
                self.forget(call_id, former)
            if packed is not None and moment is not None:
                if former != moment:
                    self.retain(call_id, moment)
                self.put(call_id, packed)

    def past(self, horizon: int, most: int) -> Iterator[tuple[bytes, int]]:
        """See `Closed`; without those that closed since the last checkpoint."""
        for key, _ in islice(self._store.scan(self._first, _moment(max(0, horizon))), most):
            self._first = key
            if key not in self._gone:
                yield _closing(key)

    def all(self) -> Iterator[tuple[bytes, int]]:
        """See `Closed`."""
        return (_closing(key) for key, _ in self._store.scan(self._first, _after(_CLOSED_AT)))

    def stored(self, rows: Iterable[Row]) -> list[Row]:
        """See `Closed`."""
        found = self._rows
        for key, value in rows:
            if key.startswith(WINDOW_ROW):
                found.append((_WINDOW + key, value))
            elif value is None or is_open(value):
                found.append((_OPEN + key, value))
        found += ((_CLOSED + call_id, packed) for call_id, packed in self._fresh.items())
        if self._count != self._counted:
            self._counted = self._count
            found.append((_COUNT, b"%d" % self._count))
        self._handed, self._fresh, self._rows, self._gone = self._fresh, {}, [], set()
        return found

    def __len__(self) -> int:
        return self._count


_CLOSED, _CLOSED_AT, _COUNT, _OPEN, _WINDOW = b"c", b"d", b"n", b"o", b"w"


def _after(kind: bytes) -> bytes:
    return bytes((kind[0] + 1,))


def _moment(closed_at: int) -> bytes:
    return _CLOSED_AT + closed_at.to_bytes(8, "big")


def _closing(key: bytes) -> tuple[bytes, int]:
    """The inverse of `_moment(closed_at) + call_id`."""
    start = len(_CLOSED_AT)
    return key[start + 8 :], int.from_bytes(key[start : start + 8], "big")
