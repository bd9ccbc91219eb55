"""What a partition has done, counted twice: permanently in its state, and since the last checkpoint for the metrics.

The ledger is committed with the state, so its equations hold across restarts: read = applied + rejected, and
opened = closed + open. The tally is handed over to the process's metrics with each checkpoint.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec

from streams.calls import anomalies
from streams.calls.revision import Facts
from streams.calls.state import CallState
from streams.codecs import REASONS, STATUSES, Direction, Reason, Status

#: The version of the state that is written to the changelog.
STATE_VERSION: Final = 1
#: The versions that can be read; after an upgrade there are rows of several versions.
READABLE: Final = frozenset({1})


def _reasons() -> dict[Reason, int]:
    return dict.fromkeys(REASONS, 0)


@dataclass(slots=True)
class Ledger:
    """Counts since the partition was first read, of records in the log and of calls.

    A dataclass, since counting in a Struct takes four times as long.
    """

    version: int = STATE_VERSION
    #: The highest event time read (epoch ms), or what the idle clock reached; -1 before the first record.
    stream_time: int = -1
    read: int = 0
    applied: int = 0
    rejected: dict[Reason, int] = field(default_factory=_reasons)
    opened: int = 0
    #: Closed calls by their current status, however they were closed.
    closed: dict[Status, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    #: The closed calls that are still `closed_by: "timeout"`.
    timed_out: int = 0
    # Not in release 0.1, which ignores them. Up to when (epoch ms) windows had ended and calls were forgotten at the
    # last checkpoint; None: the stream time.
    settled: int | None = None
    #: The widths of KPI windows (ms), each with the `closed_at` (epoch ms) from which it applies.
    widths: list[tuple[int, int]] = field(default_factory=list)
    #: The end of the last KPI window (epoch ms), forgotten ones included.
    windows_end: int = 0
    #: For how long (ms) closed calls were remembered; 0 if unknown.
    call_retention: int = 0

    def close(self, state: CallState) -> None:
        """Count a call that has closed."""
        self.closed[state.status] += 1
        self.timed_out += state.timed_out

    def amend(self, before: CallState, after: CallState) -> None:
        """Count a closed call that has changed."""
        self.closed[before.status] -= 1
        self.closed[after.status] += 1
        self.timed_out += after.timed_out - before.timed_out


encode_ledger = msgspec.msgpack.Encoder().encode
decode_ledger = msgspec.msgpack.Decoder(Ledger).decode


class Tally:
    """What happened since the last checkpoint, by the labels of the metrics."""

    def __init__(self) -> None:
        self.events: dict[Direction, dict[Status, int]] = {
            "inbound": dict.fromkeys(STATUSES, 0),
            "outbound": dict.fromkeys(STATUSES, 0),
        }
        self.rejected: dict[Reason, int] = _reasons()
        self.unchanged: Counter[str] = Counter()
        self.key_mismatches = 0
        #: Calls that could not be closed by their timeout because the code itself raised.
        self.timeouts_failed = 0
        #: (status, direction, closed_by)
        self.completed: Counter[tuple[str, str, str]] = Counter()
        #: (direction, answered_by)
        self.answered: Counter[tuple[str, str]] = Counter()
        self.amendments = 0
        self.anomalies: Counter[str] = Counter()
        #: Currency to amount, rounded to 28 digits: for watching, not for billing.
        self.charges: dict[str, Decimal] = {}
        self.refunds: dict[str, Decimal] = {}
        self.durations: list[float] = []
        self.rings: list[float] = []

    def closed(self, state: CallState, found: Facts) -> None:
        """Count a call that has closed with its first revision."""
        self.completed[state.status, state.direction, "timeout" if state.timed_out else "status"] += 1
        if found.answered:
            self.answered[state.direction, state.answered_by or "unknown"] += 1
        if found.anomalies:
            self.anomalies.update(anomalies.names(found.anomalies))
        if state.duration is not None:
            self.durations.append(state.duration)
        elif found.talk_ms is not None:
            self.durations.append(found.talk_ms / 1000)
        if found.ring_ms is not None:
            self.rings.append(found.ring_ms / 1000)
        if found.charge is not None:
            self._charge(*found.charge)

    def amended(self, old: Facts, after: CallState, new: Facts) -> None:
        """Count a published revision after the first."""
        self.amendments += 1
        if new.answered and not old.answered:
            self.answered[after.direction, after.answered_by or "unknown"] += 1
        if fresh := new.anomalies & ~old.anomalies:
            self.anomalies.update(anomalies.names(fresh))
        if new.charge != old.charge:
            if old.charge is not None:
                self._charge(old.charge[0], -old.charge[1])
            if new.charge is not None:
                self._charge(*new.charge)

    def _charge(self, currency: str, amount: Decimal) -> None:
        sums = self.charges if amount >= 0 else self.refunds
        sums[currency] = sums.get(currency, _NOTHING) + abs(amount)


_NOTHING: Final = Decimal()
