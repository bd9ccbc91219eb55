"""How much of a worker's time looking into topics may take: as good as nothing while the worker needs it itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Final

#: A worker that uses more of a core than this for itself is busy; so is one for which more records than that wait, for
#: others may have taken its core.
_BUSY, _WAITING = 0.5, 10_000
#: How long (s) its use of the core is looked at, at least.
_SPAN: Final = 1.0
#: Beside a busy worker a look takes about so much CPU (s), and then rests for so many times as long.
_CPU, _REST = 0.02, 200.0
#: Nobody waits longer (s) for the rest of others.
_LONGEST: Final = 6.0


class Pace:
    """Lets looks take less than a hundredth of a busy worker's time, and as much as they like of an idle one's."""

    def __init__(
        self,
        waiting: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
    ) -> None:
        """`waiting` is how many records the worker has not committed yet, `used` the CPU time (s) that this process has
        used, looks included.
        """
        self._waiting, self._clock, self._used = waiting, clock, used
        self._since, self._before, self._looked = clock(), used(), 0.0
        self._is_busy = False
        self._free_at = -inf

    def budget(self) -> float:
        """The CPU time (s) after which a look should end."""
        return _CPU if self._busy() else inf

    def rest(self) -> float:
        """How long (s) the next look has to wait."""
        return max(0.0, self._free_at - self._clock()) if self._busy() else 0.0

    def spent(self, cpu: float) -> None:
        """A look has taken so much CPU time (s)."""
        self._looked += cpu
        self._free_at = self._clock() + min(_LONGEST, _REST * cpu)

    def _busy(self) -> bool:
        now = self._clock()
        if now - self._since >= _SPAN:
            used = self._used()
            own = used - self._before - self._looked
            self._is_busy = own > _BUSY * (now - self._since) or self._waiting() > _WAITING
            self._since, self._before, self._looked = now, used, 0.0
        return self._is_busy
