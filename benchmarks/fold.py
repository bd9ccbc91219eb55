"""The processing of one partition without Kafka: microseconds of CPU per event, and where they go.

    python -m benchmarks.fold [--calls 50000] [--rounds 7] [--profile]

Batches are as the engine reads them, checkpoints as it takes them at full speed. The work is the same in each round,
so whatever is slower was disturbed: what counts is the quickest round of each batch and each checkpoint. The same
rounds without KPI windows tell what those cost.
"""

import cProfile
import gc
import pstats
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import click

from streams.calls.partition import CallsPartition, Rules
from streams.operations.simulation import events
from streams.records import Record

BATCH = 2_000
BATCHES_IN_A_CHECKPOINT = 4
RATE = 150.0
"""Calls that start in a second: about 4,000 are open at a time."""
START_MS = 1_767_225_600_000

Rows: TypeAlias = list[tuple[bytes, bytes | None]]


def records(calls: int, seed: int = 1) -> Iterator[Record]:
    """The standard mix, as the records of one partition."""
    told = events(seed, calls, RATE, START_MS)
    return ((offset, at, key, value, ()) for offset, (at, key, value) in enumerate(told))


def batches(source: list[Record]) -> list[list[Record]]:
    """The records as they are read: in batches."""
    return [source[start : start + BATCH] for start in range(0, len(source), BATCH)]


class Round(NamedTuple):
    """CPU seconds of each batch, each checkpoint and of a recovery, and how much was written."""

    batches: list[float]
    checkpoints: list[float]
    recovery: float
    outputs: int
    rows: int


class NoWindows:
    """In the place of the KPI windows, for their cost: counts nothing, publishes nothing."""

    #: No window of any width reaches past this moment.
    end = 0

    def key(self, *_: object) -> None:
        """It is counted nowhere."""

    def add(self, *_: object) -> None:
        """A call has closed."""

    def amend(self, *_: object) -> None:
        """It says something else now."""

    def published(self, _: int) -> list[Any]:
        """None."""
        return []

    rows = published


def run(work: list[list[Record]], *, has_windows: bool = True) -> Round:
    """All batches on a new partition, then a recovery from what it wrote."""
    partition = CallsPartition(Rules(), 0)
    if not has_windows:
        partition.windows = NoWindows()  # type: ignore[assignment]
    clock = time.process_time
    applied: list[float] = []
    checkpoints: list[float] = []
    outputs, rows, state = 0, Rows(), b""
    for number, batch in enumerate(work, 1):
        begun = clock()
        partition.process(batch, START_MS * 2)
        applied.append(clock() - begun)
        if number % BATCHES_IN_A_CHECKPOINT == 0 or number == len(work):
            begun = clock()
            checkpoint = partition.checkpoint()
            checkpoints.append(clock() - begun)
            outputs += sum(map(len, checkpoint.outputs.values()))
            rows += checkpoint.rows
            state = checkpoint.partition_state
    return Round(applied, checkpoints, _recovery(rows, state), outputs, len(rows))


def _recovery(rows: Rows, state: bytes) -> float:
    partition, begun = CallsPartition(Rules(), 0), time.process_time()
    partition.restore(rows)
    list(partition.ready(state))
    return time.process_time() - begun


def _quickest(rounds: list[list[float]]) -> float:
    return sum(map(min, zip(*rounds, strict=True)))


def _profile(work: list[list[Record]]) -> None:
    profile = cProfile.Profile()
    profile.runcall(run, work)
    pstats.Stats(profile).sort_stats("tottime").print_stats(40)


@click.command()
@click.option("--calls", type=click.IntRange(1), default=50_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--profile", "profiled", is_flag=True, help="Show the functions that take longest instead.")
def main(calls: int, rounds: int, profiled: bool) -> None:
    """Measure and print."""
    work = batches(list(records(calls)))
    count = sum(map(len, work))
    gc.collect()
    gc.freeze()  # the load is not what is measured
    gc.set_threshold(10_000, 20, 50)  # as the engine has it
    if profiled:
        _profile(work)
        return
    told, without = [], []
    for _ in range(rounds):  # in turns, so that both meet the same noise
        told.append(run(work))
        without.append(run(work, has_windows=False))
    process, checkpoint = (
        _quickest([each.batches for each in told]),
        _quickest([each.checkpoints for each in told]),
    )
    windows = (
        process
        + checkpoint
        - sum(_quickest([getattr(r, part) for r in without]) for part in ("batches", "checkpoints"))
    )
    recovery, (*_, outputs, rows) = min(each.recovery for each in told), told[0]
    print(f"{count:,} events, {outputs:,} records out, {rows:,} changelog rows; quickest of {rounds} rounds")
    print(f"process    {process / count * 1e6:6.2f} us an event")
    print(f"checkpoint {checkpoint / count * 1e6:6.2f} us an event")
    both = process + checkpoint
    print(f"together   {both / count * 1e6:6.2f} us an event, {count / both:,.0f} a second")
    print(f"windows    {windows / count * 1e6:6.2f} us of that, {windows / both:.1%}")
    print(f"restore    {recovery / rows * 1e6:6.2f} us a row, {rows / recovery:,.0f} rows a second")


if __name__ == "__main__":
    main()
