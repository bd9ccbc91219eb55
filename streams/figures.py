"""What can be said of one worker's partitions without a word about any one call: for `/status` and the live page.

Nothing here is counted for that purpose; it is looked at when somebody asks. What takes time because it looks at every
open call or every recent window is looked at again only after a hundred times as long.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from heapq import nsmallest
from itertools import islice
from typing import Any, Final

from streams.calls.partition import CallsPartition, Output
from streams.codecs import split_headers

#: KPI windows that are told of, up to the one of the present stream time.
WINDOWS: Final = 15
#: Dead letters, and open calls, that are told of.
_LAST: Final = 8
#: Open calls lie in the order in which they were opened, almost: events may come a little out of order.
_AMONG: Final = 200


class Figures:
    """Of one worker; `partitions` are those that are its own at the moment."""

    def __init__(self, width: int) -> None:
        """`width` is that of the KPI windows, in ms."""
        self._width = width
        self._dead: deque[dict[str, Any]] = deque(maxlen=_LAST)
        self._counted: dict[str, Any] = {}
        self._again_at = 0.0

    def rejected(self, letters: Iterable[Output]) -> None:
        """Dead letters were published: the last of them are remembered, where they came from and why."""
        now = time.time_ns() // 1_000_000
        for *_, headers in list(letters)[-_LAST:]:
            if split := split_headers(headers):
                origin = split[1]
                place = {"partition": origin.partition, "offset": origin.offset}
                self._dead.append({"reason": origin.reason, **place, "at": now})

    def document(self, partitions: Mapping[int, CallsPartition]) -> dict[str, Any]:
        """Counts of the partitions' ledgers (since they were first read), what is open, and the last windows."""
        rejected, closed = Counter[str](), Counter[str]()
        timed_out = 0
        for calls in partitions.values():
            rejected.update({reason: n for reason, n in calls.ledger.rejected.items() if n})
            closed.update({status: n for status, n in calls.ledger.closed.items() if n})
            timed_out += calls.ledger.timed_out
        if (begun := time.monotonic()) >= self._again_at:
            self._counted = {"open": self._open(partitions), "windows": self._windows(partitions)}
            ended = time.monotonic()
            self._again_at = ended + 100 * (ended - begun)
        return {
            "rejected": dict(rejected),
            "closed": dict(closed),
            "timed_out": timed_out,
            "dead": list(self._dead),
            "window_ms": self._width,
            **self._counted,
        }

    @staticmethod
    def longest(partitions: Mapping[int, CallsPartition]) -> list[dict[str, Any]]:
        """The calls that have been open for longest: id, status and first event time (epoch ms)."""
        found = [
            {"id": key.decode(), "status": state.status, "since": state.first_seen}
            for calls in partitions.values()
            for key, state in islice(calls.open.items(), _AMONG)
        ]
        return nsmallest(_LAST, found, key=lambda call: int(call["since"]))

    @staticmethod
    def _open(partitions: Mapping[int, CallsPartition]) -> dict[str, int]:
        found = Counter[str]()
        for calls in partitions.values():
            found.update(calls.open_by_status())
        return dict(found)

    def _windows(self, partitions: Mapping[int, CallsPartition]) -> dict[str, Counter[str]]:
        """Sums of the last KPI windows, by their start (epoch ms)."""
        found: dict[int, Counter[str]] = {}
        for calls in partitions.values():
            last = calls.ledger.stream_time - calls.ledger.stream_time % self._width
            for start in range(last - (WINDOWS - 1) * self._width, last + 1, self._width):
                if sums := calls.windows.sums(start):
                    found.setdefault(start, Counter()).update(sums)
        return {str(start): found[start] for start in sorted(found)[-WINDOWS:]}
