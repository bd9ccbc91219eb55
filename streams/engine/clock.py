"""What time it is: to the brokers, whose answers tell it.

Each commit writes to the changelog, and the acknowledgement carries the broker's clock where the topic has
`LogAppendTime`. All that is judged by the wall clock is judged by that: a worker's own clock may be wrong by days.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

#: Answers that are remembered: the quickest of them tells the time best.
_REMEMBERED: Final = 64
# Milliseconds. Clocks that agree drift apart by less between two answers; one that is off by more is worth a warning,
# again and again.
_SLACK: Final = 500
_WORTH_A_WARNING: Final = 5_000
_BETWEEN_WARNINGS: Final = 600_000


class _Answer(NamedTuple):
    #: Own clock less the broker's, and by how much that may be wrong: half of the time that the answer took.
    offset: int
    error: int


def _monotonic() -> int:
    return time.monotonic_ns() // 1_000_000


class Clock:
    """The brokers' wall clock; until an answer has told it, our own. All times are in milliseconds."""

    def __init__(self, own: Callable[[], int], monotonic: Callable[[], int] = _monotonic) -> None:
        self._own, self._monotonic = own, monotonic
        self._answers: deque[_Answer] = deque(maxlen=_REMEMBERED)
        #: Own clock less the brokers'.
        self.offset = 0
        #: Answers do not tell the time, since the changelog has `CreateTime`.
        self.is_blind = False
        #: Own and monotonic clock at the last answer.
        self._heard: tuple[int, int] | None = None
        self._warned_at: int | None = None

    def now(self) -> int:
        """Epoch milliseconds."""
        return self._own() - self.offset

    @property
    def is_doubtful(self) -> bool:
        """Whether the brokers are to be asked before anything is judged: not heard yet, or our clock was set since."""
        if self.is_blind:
            return False
        if self._heard is None:
            return True
        own, monotonic = self._heard
        return abs((self._own() - own) - (self._monotonic() - monotonic)) > _SLACK

    @property
    def told(self) -> float | None:
        """Seconds by which our own clock is ahead of the brokers'; None while no answer has told their time."""
        return self.offset / 1000 if self._answers else None

    def asked(self) -> int:
        """The moment of a question, for `heard`."""
        return self._monotonic()

    def heard(self, asked: int, theirs: int) -> None:
        """An answer to what was asked then has come just now; to the broker it was `theirs` in between."""
        own, monotonic = self._own(), self._monotonic()
        error = (monotonic - asked) // 2
        answer = _Answer(own - error - theirs, error)
        if self.is_doubtful or any(_disagree(answer, each) for each in self._answers):
            self._answers.clear()
        self._answers.append(answer)
        self.is_blind = False
        self.offset = min(self._answers, key=lambda each: each.error).offset
        self._heard = own, monotonic
        self._warn(monotonic)

    def go_blind(self) -> None:
        """No answer tells the time: our own clock is all there is."""
        self.is_blind, self.offset = True, 0
        self._answers.clear()

    def _warn(self, now: int) -> None:
        if abs(self.offset) < _WORTH_A_WARNING:
            return
        if self._warned_at is None or now - self._warned_at >= _BETWEEN_WARNINGS:
            self._warned_at = now
            log.warning(
                "this machine's clock is %.1f s %s the brokers', which is the one that counts: set it right, or "
                "whatever else looks at it here is wrong",
                abs(self.offset) / 1000,
                "ahead of" if self.offset > 0 else "behind",
            )


def _disagree(one: _Answer, other: _Answer) -> bool:
    """Whether a clock was set between two answers."""
    return abs(one.offset - other.offset) > one.error + other.error + _SLACK
