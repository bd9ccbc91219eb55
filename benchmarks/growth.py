"""Whether remembering more calls makes each event dearer: microseconds an event, with few calls remembered and many.

    python -m benchmarks.growth [--few 20000] [--many 2000000] [--rounds 5]

Two partitions, without Kafka, differ in nothing but how many closed calls they remember, restored from a changelog that
holds the same calls under new ids. Both then process the same events in turns. What the rest of a worker costs an
event does not depend on the state, so that the whole of it grows less than this.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from itertools import cycle, islice

import click

from benchmarks.fold import BATCHES_IN_A_CUT, START_MS, batches, records
from benchmarks.measure import spread
from streams.calls.partition import CallsPartition, Record, Rules

_SAMPLE = 10_000


def closed_calls(number: int) -> Iterator[tuple[bytes, bytes]]:
    """Changelog rows of so many closed calls: those of a sample again and again, with ids of their own."""
    partition = CallsPartition(Rules(), 0)
    partition.process(records(_SAMPLE, seed=2), START_MS * 2)
    rows = [value for key, value in partition.cut().rows if len(key) == 36 and value]
    for count, value in enumerate(islice(cycle(rows), number)):
        yield b"00000000-0000-4000-a000-%012d" % count, value


def remembering(number: int) -> CallsPartition:
    """A partition that remembers so many calls, as a worker has it after its start."""
    partition = CallsPartition(Rules(), 0)
    partition.restore(closed_calls(number))
    partition.ready(None)
    gc.collect()
    gc.freeze()
    return partition


def seconds(partition: CallsPartition, work: list[list[Record]]) -> float:
    """CPU time for the work, cuts included."""
    begun = time.process_time()
    for number, batch in enumerate(work, 1):
        partition.process(batch, START_MS * 2)
        if number % BATCHES_IN_A_CUT == 0 or number == len(work):
            partition.cut()
    return time.process_time() - begun


@click.command()
@click.option("--few", default=20_000, show_default=True)
@click.option("--many", default=2_000_000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--calls", default=20_000, show_default=True, help="New calls in each round.")
def main(few: int, many: int, rounds: int, calls: int) -> None:
    """Measure and print."""
    gc.set_threshold(10_000, 20, 50)  # as the engine has it
    small, large = remembering(few), remembering(many)
    costs: dict[int, list[float]] = {few: [], many: []}
    for number in range(rounds):
        work = batches(list(records(calls, seed=10 + number)))
        events = sum(map(len, work))
        turns = [(few, small), (many, large)]
        for remembered, partition in turns if number % 2 else reversed(turns):
            costs[remembered].append(seconds(partition, work) / events * 1e6)
    for remembered, each in costs.items():
        print(f"{remembered:>9,} calls remembered: {spread(each, '.2f')} us an event")
    shares = [fast / slow for fast, slow in zip(costs[few], costs[many], strict=True)]
    print(f"rate with many, of that with few: {spread(shares, '.2f')}")


if __name__ == "__main__":
    main()
