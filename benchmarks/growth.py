"""Whether remembering more calls makes each event dearer: microseconds an event, with few calls remembered and many.

    python -m benchmarks.growth [--few 20000] [--many 2000000] [--rounds 5] [--store rocksdb]

Two partitions, without Kafka, differ in nothing but how many closed calls they remember, restored from a changelog that
holds the same calls under new ids. Both then process the same events in turns. What the rest of a worker costs an
event does not depend on the state, so that the whole of it grows less than this. With the rocksdb store, 2,000,000
calls take ten times the store's cache.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.fold import BATCHES_IN_A_CHECKPOINT, START_MS, batches, records
from benchmarks.measure import spread
from streams.calls.partition import CallsPartition, Rules
from streams.engine.store import Changelog, Store
from streams.records import Record, Row

_SAMPLE = 10_000


def closed_calls(number: int) -> Iterator[tuple[bytes, bytes]]:
    """Changelog rows of this many closed calls: those of a sample repeatedly, each with its own id."""
    partition = CallsPartition(Rules(), 0)
    partition.process(records(_SAMPLE, seed=2), START_MS * 2)
    rows = [value for key, value in partition.checkpoint().rows if len(key) == 36 and value]
    for count, value in enumerate(islice(cycle(rows), number)):
        yield b"00000000-0000-4000-a000-%012d" % count, value


class Remembering:
    """A partition that remembers this many calls, as in a worker after its start; on disk, if given a directory."""

    def __init__(self, number: int, directory: Path | None) -> None:
        self._store = Store(directory, Changelog(b"", 0, 0), 0) if directory else None
        self._partition = CallsPartition(Rules(), 0, self._store)
        rows = closed_calls(number)
        while some := list(islice(rows, _SAMPLE)):
            self._write(self._partition.restore(some))
        list(self._partition.ready(None))
        gc.collect()
        gc.freeze()

    def _write(self, rows: Sequence[Row]) -> None:
        if self._store is not None:
            self._store.write(rows, 0, None, 0)

    def seconds(self, work: list[list[Record]]) -> float:
        """CPU time for the work, checkpoints included."""
        begun = time.process_time()
        for number, batch in enumerate(work, 1):
            self._partition.process(batch, START_MS * 2)
            if number % BATCHES_IN_A_CHECKPOINT == 0 or number == len(work):
                self._write(self._partition.checkpoint().stored)
        return time.process_time() - begun


@click.command()
@click.option("--few", default=20_000, show_default=True)
@click.option("--many", default=2_000_000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--calls", default=20_000, show_default=True, help="New calls in each round.")
@click.option("--store", type=click.Choice(["memory", "rocksdb"]), default="memory", show_default=True)
def main(few: int, many: int, rounds: int, calls: int, store: str) -> None:
    """Measure and print."""
    gc.set_threshold(10_000, 20, 50)  # as the engine has it
    with TemporaryDirectory() as name:
        directory = Path(name) if store == "rocksdb" else None
        small, large = (Remembering(each, directory and directory / str(each)) for each in (few, many))
        compare(small, large, few, many, rounds, calls)


def compare(small: Remembering, large: Remembering, few: int, many: int, rounds: int, calls: int) -> None:
    """Let both do the same, and print what it took."""
    costs: dict[int, list[float]] = {few: [], many: []}
    for number in range(rounds):
        work = batches(list(records(calls, seed=10 + number)))
        events = sum(map(len, work))
        turns = [(few, small), (many, large)]
        for remembered, partition in turns if number % 2 else reversed(turns):
            costs[remembered].append(partition.seconds(work) / events * 1e6)
    for remembered, each in costs.items():
        print(f"{remembered:>9,} calls remembered: {spread(each, '.2f')} us an event")
    shares = [fast / slow for fast, slow in zip(costs[few], costs[many], strict=True)]
    print(f"rate with many, of that with few: {spread(shares, '.2f')}")


if __name__ == "__main__":
    main()
