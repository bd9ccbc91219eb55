"""What is done to the workers of a group while they work.

One worker is killed each time and restarted at once; every fifth time the broker is killed with it. Several workers get
all kinds of faults in a random order, each kind as often as the others, and faults may overlap:

    kill    SIGKILL; another worker takes the place of this one after a pause
    leave   SIGTERM, which must end it with exit code 0; another one joins after a pause
    pause   SIGSTOP for longer than the session timeout, then SIGCONT
    roll    all are restarted by SIGTERM, the next one when the one before is a member again
    broker  a worker and the broker are killed and restarted

A worker that was paused must become a member again, or end with exit code 1 because others have its partitions, after
which it is restarted; its last words are printed. A worker that ends at any other time by itself is an error. Of
several workers one is always left alone.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from random import Random
from typing import NamedTuple, TypeAlias

from benchmarks.crew import Crew, Place
from streams.embedded import Broker

_FENCED = 1
"""The exit code of a worker that finds its partitions in the hands of others."""
_OF_A_BUG = " critical "
"""The level at which a worker reports an error of the program, with the same exit code."""

Steps: TypeAlias = Iterator[None]
"""A fault on its way: whatever it waits for, it looks at each step."""


class Timing(NamedTuple):
    """In seconds: the session timeout, the longest absence of a worker, and how long it may take to end or to join."""

    session: float = 10.0
    absence: float = 15.0
    patience: float = 180.0


TIMING = Timing()


class Kind(StrEnum):
    """What can happen."""

    KILL = "kill"
    LEAVE = "leave"
    PAUSE = "pause"
    ROLL = "roll"
    BROKER = "broker"


_ALONE = frozenset({Kind.ROLL, Kind.BROKER})
"""What begins when nothing else is under way, and lets nothing else begin."""


def kinds(workers: int, chance: Random) -> Iterator[Kind]:
    """What happens to so many workers, without end."""
    while True:
        if workers == 1:
            yield from (*[Kind.KILL] * 4, Kind.BROKER)
        else:
            yield from chance.sample(list(Kind), len(Kind))


class Faults:
    """What happens to a crew: the next fault is due so many seconds after the last one began."""

    def __init__(
        self,
        crew: Crew,
        broker: Broker,
        every: float,
        order: Iterator[Kind],
        chance: Random,
        timing: Timing = TIMING,
    ) -> None:
        self._crew, self._broker, self._every = crew, broker, every
        self._chance, self._timing = chance, timing
        self._order, self._next = order, next(order)
        self._under_way: list[tuple[Kind, Steps]] = []
        self._due, self._committed = time.monotonic() + every, 0
        #: How often each thing has happened.
        self.counts = Counter[str]()

    def begin(self, committed: int) -> None:
        """Begin the next fault if it is due and possible; `go_on` does the rest.

        `committed` records: there must be more than when the last fault began, or workers that take long to come back
        would never get there.
        """
        now = time.monotonic()
        if now >= self._due and committed > self._committed and self._may_begin():
            self._due, self._committed = now + self._every, committed
            self.counts[self._next] += 1
            self._under_way.append((self._next, self._steps(self._next)))
            self._next = next(self._order)

    def go_on(self) -> bool:
        """Go on with what is under way; whether something still is.

        Raises RuntimeError when a worker does not do what it has to.
        """
        self._under_way = [each for each in self._under_way if next(each[1], self) is not self]
        return bool(self._under_way)

    def _may_begin(self) -> bool:
        if self._next in _ALONE or any(kind in _ALONE for kind, _ in self._under_way):
            return not self._under_way
        return len(self._free()) > (len(self._crew.places) > 1)

    def _free(self) -> list[Place]:
        return [each for each in self._crew.places if not each.taken]

    def _steps(self, kind: Kind) -> Steps:
        if kind is Kind.ROLL:
            return self._roll()
        steps = {
            Kind.KILL: self._kill,
            Kind.LEAVE: self._leave,
            Kind.PAUSE: self._pause,
            Kind.BROKER: self._kill_broker,
        }
        return self._with(self._chance.choice(self._free()), steps[kind])

    def _with(self, place: Place, steps: Callable[[Place], Steps]) -> Steps:
        place.taken = True
        yield from steps(place)
        place.taken = False

    def _roll(self) -> Steps:
        for place in self._crew.places:
            yield from self._with(place, self._restart)

    def _kill(self, place: Place) -> Steps:
        place.close()
        yield from self._absence()
        yield from self._come(place)

    def _leave(self, place: Place) -> Steps:
        yield from self._terminate(place)
        yield from self._absence()
        yield from self._come(place)

    def _restart(self, place: Place) -> Steps:
        yield from self._terminate(place)
        yield from self._come(place)

    def _kill_broker(self, place: Place) -> Steps:
        place.close()
        self._broker.kill()
        self._broker.start()
        yield from self._come(place)

    def _pause(self, place: Place) -> Steps:
        before = place.joined()
        place.process.send_signal(signal.SIGSTOP)
        yield from self._rest(self._timing.session * (1.1 + self._chance.random()))
        place.process.send_signal(signal.SIGCONT)
        yield from self._until(
            "becomes a member again", place, lambda: place.joined() > before or place.exit_code() is not None
        )
        if place.exit_code() is None:
            self.counts["paused and back"] += 1
            return
        if place.exit_code() != _FENCED or _OF_A_BUG in place.said():
            raise RuntimeError(f"a paused worker ended with exit code {place.exit_code()}:\n{place.said()}")
        self.counts["paused and fenced"] += 1
        reason = place.said().strip().rpartition("\n")[2]
        print(f"a paused worker has ended: {reason}", flush=True)
        place.close()
        yield from self._come(place)

    def _terminate(self, place: Place) -> Steps:
        place.process.terminate()
        yield from self._until("ends", place, lambda: place.exit_code() is not None)
        if code := place.exit_code():
            raise RuntimeError(f"a worker did not stop cleanly, but with exit code {code}:\n{place.said()}")
        place.close()

    def _come(self, place: Place) -> Steps:
        self._crew.start(place)
        yield from self._until("joins", place, lambda: place.joined() > 0 or place.exit_code() is not None)
        if (code := place.exit_code()) is not None:
            raise RuntimeError(f"a worker ended with exit code {code} when it joined:\n{place.said()}")

    def _absence(self) -> Steps:
        if len(self._crew.places) > 1:
            yield from self._rest(self._chance.uniform(0, self._timing.absence))

    def _rest(self, seconds: float) -> Steps:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield

    def _until(self, what: str, place: Place, holds: Callable[[], bool]) -> Steps:
        give_up = time.monotonic() + self._timing.patience
        while not holds():
            if time.monotonic() > give_up:
                who = f"worker {self._crew.places.index(place)}"
                raise RuntimeError(
                    f"not within {self._timing.patience:.0f} s: {who} {what}\n{self._crew.said()}"
                )
            yield
