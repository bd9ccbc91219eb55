"""What a run of a worker has done: for `worker --until-caught-up`."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from streams.calls.ledger import Ledger
from streams.codecs import Reason, Status


class Summary(Struct):
    """What a run has done: records read, applied, and rejected by reason; calls closed, and open now, by status."""

    read: int = 0
    applied: int = 0
    rejected: dict[Reason, int] = field(default_factory=dict)
    opened: int = 0
    completed: dict[Status, int] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)

    def add(self, now: Ledger, before: Ledger, open_calls: Mapping[str, int]) -> None:
        """Add what one partition has done between two states of its ledger."""
        self.read += now.read - before.read
        self.applied += now.applied - before.applied
        self.opened += now.opened - before.opened
        for reason, n in now.rejected.items():
            if n > before.rejected[reason]:
                self.rejected[reason] = self.rejected.get(reason, 0) + n - before.rejected[reason]
        for status, n in now.closed.items():
            if n != before.closed[status]:
                self.completed[status] = self.completed.get(status, 0) + n - before.closed[status]
        for name, n in open_calls.items():
            self.open[name] = self.open.get(name, 0) + n
