"""What it costs to remember a call: bytes of resident memory for an open one and for a closed one.

    python -m benchmarks.memory [--calls 200000]

All told: state, id, strings, deadlines and the tables they lie in; measured as the growth of a process while it
comes to remember so many calls more than the 50,000 it begins with. The open calls have had all their events but the
last.
"""

import gc
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from math import inf
from pathlib import Path

import click

from benchmarks.fold import BATCH, BATCHES_IN_A_CHECKPOINT, START_MS, records
from streams.calls.partition import CallsPartition, Rules
from streams.records import Record

_FIRST = 50_000
_TERMINAL = tuple(
    f'"status":"{name}"'.encode() for name in ("completed", "failed", "busy", "no-answer", "canceled")
)


def resident() -> int:
    """Bytes of physical memory that this process holds now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def without_ends(source: Iterable[Record]) -> Iterator[Record]:
    """The records that do not say how a call ended."""
    return (record for record in source if not is_end(record[3] or b""))


def is_end(event: bytes) -> bool:
    """Whether an event says how a call ended."""
    return any(status in event for status in _TERMINAL)


def remember(partition: CallsPartition, source: Iterator[Record], calls: float) -> int:
    """Apply records until this many calls are remembered, or all; returns the memory then."""
    while len(partition) < calls and (batch := list(islice(source, BATCH * BATCHES_IN_A_CHECKPOINT))):
        partition.process(batch, START_MS * 2)
        partition.checkpoint()
    return resident()


def bytes_per_call(calls: int, is_open: bool) -> float:
    """The growth of this process by one call."""
    partition, source = CallsPartition(Rules(), 0), records(calls + _FIRST)
    if is_open:
        source = without_ends(source)
    before = remember(partition, source, _FIRST)
    first = len(partition)
    return (remember(partition, source, inf) - before) / (len(partition) - first)


@click.command()
@click.option("--calls", type=click.IntRange(10_000), default=200_000, show_default=True)
def main(calls: int) -> None:
    """Measure both in processes of their own, and print."""
    # A new interpreter for each: memory that was freed before would hide growth.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for is_open in (True, False):
            size = pool.apply(bytes_per_call, (calls, is_open))
            print(f"{'open' if is_open else 'closed'} call: {size:4.0f} bytes, of {calls:,} calls")


if __name__ == "__main__":
    main()
