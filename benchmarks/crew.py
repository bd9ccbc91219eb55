"""The workers of one group: each is in a place, in which another one follows it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import TypeAlias

from benchmarks.measure import Process, cpu_seconds, resident
from benchmarks.worker import worker

_LARGEST_LOG = 16 << 20
_SHOWN = 16_000
"""Bytes of the end of a worker's log that an error quotes."""

Start: TypeAlias = Callable[[dict[str, str], Path], AbstractContextManager[Process]]


class Place:
    """A worker, or the place of one that is away."""

    def __init__(self, env: Mapping[str, str], logs: Path, start: Start) -> None:
        """The logs of its workers are `logs`-1, `logs`-2 and so on."""
        self._env, self._logs, self._start = env, logs, start
        self._number = count(1)
        self._log = logs
        self._running = ExitStack()
        self._process: Process | None = None
        self._spent = self._spent_by_former = 0.0
        #: Whether a fault has hold of it.
        self.taken = False

    def start(self, instance: str | None) -> None:
        """Start a worker, as a static member of this name or as a dynamic one."""
        env = dict(self._env) | ({"TELEFONIE_INSTANCE_ID": instance} if instance else {})
        self._log = self._logs.with_name(f"{self._logs.name}-{next(self._number)}.log")
        self._log.touch()
        self._process = self._running.enter_context(self._start(env, self._log))

    @property
    def process(self) -> Process:
        """The worker that is, or was last, in this place."""
        assert self._process is not None, "nobody has been here"
        return self._process

    def exit_code(self) -> int | None:
        """None while it runs."""
        self.cpu_seconds()  # cannot be read once the exit code has been asked for
        return self.process.poll()

    def cpu_seconds(self) -> float:
        """The CPU time of all workers that were in this place."""
        with suppress(FileNotFoundError, ProcessLookupError):
            self._spent = cpu_seconds(self.process.pid)
        return self._spent_by_former + self._spent

    def resident(self) -> float:
        """MiB of physical memory; 0 while nobody is there."""
        with suppress(FileNotFoundError, ProcessLookupError):
            return resident(self.process.pid) / 2**20
        return 0.0

    def close(self) -> None:
        """Kill it, unless it has ended."""
        self._spent_by_former, self._spent = self.cpu_seconds(), 0.0
        self._running.close()

    def joined(self) -> int:
        """How many assignments it has had so far, by its log."""
        return len(re.findall(rb"partitions \[.*?\] of \S+ are assigned", self._log.read_bytes()))

    def said(self) -> str:
        """The end of its log."""
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _SHOWN))
            return log.read().decode(errors="replace")

    def check(self) -> None:
        """Raise RuntimeError if its log grows without bounds."""
        if self._log.stat().st_size > _LARGEST_LOG:
            raise RuntimeError(f"more than {_LARGEST_LOG:,} bytes of log:\n{self.said()}")


class Crew:
    """The workers of a group. With several of them about half are static members, chosen again at each start."""

    def __init__(
        self, env: Mapping[str, str], folder: Path, workers: int, chance: Random, start: Start = worker
    ) -> None:
        self._chance = chance
        self.places = [Place(env, folder / f"worker-{number}", start) for number in range(workers)]
        for place in self.places:
            self.start(place)

    def start(self, place: Place) -> None:
        """Somebody takes this place, where nobody is."""
        is_static = len(self.places) == 1 or self._chance.random() < 0.5
        place.start(f"soak-{self.places.index(place)}" if is_static else None)

    def check(self) -> None:
        """Raise RuntimeError when a worker has ended by itself, or says far too much."""
        for place in self.places:
            place.check()
            if not place.taken and (code := place.exit_code()) is not None:
                number = self.places.index(place)
                raise RuntimeError(f"worker {number} ended with exit code {code}:\n{self.said()}")

    def said(self) -> str:
        """The end of each worker's log."""
        return "\n".join(f"worker {number}:\n{each.said()}" for number, each in enumerate(self.places))

    def stop(self, patience: float = 60.0) -> None:
        """SIGTERM to all. Raises RuntimeError unless it ends each of them in time (s), and with exit code 0."""
        give_up = time.monotonic() + patience
        for place in self.places:
            place.process.terminate()
        for number, place in enumerate(self.places):
            while (code := place.exit_code()) is None and time.monotonic() < give_up:
                time.sleep(0.05)
            if code != 0:
                how = "in time" if code is None else f"cleanly, but with exit code {code}"
                raise RuntimeError(f"worker {number} did not stop {how}:\n{self.said()}")

    def close(self) -> None:
        """Kill those that still run."""
        for place in self.places:
            place.close()
