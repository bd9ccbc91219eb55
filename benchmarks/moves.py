"""Whether state that moves away is freed: a worker's memory while partitions go to another one and come back.

    python -m benchmarks.moves [--calls 200000] [--moves 20]

One worker has all partitions, with so many open calls. Another joins the group, takes half of them over, and leaves
again, and so on: each is a move. What is measured is the resident memory of the first after each.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGTERM

import click

from benchmarks.load import PARTITIONS, make_topics, produced
from benchmarks.measure import Offsets
from benchmarks.memory import is_end
from benchmarks.worker import OUTPUTS, environment, worker
from streams.embedded import Cluster
from streams.operations.simulation import events

_LIMIT_SECONDS = 120.0
_RATE = 2_000.0


def resident(pid: int) -> float:
    """MiB of physical memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def wait(what: str, condition: Callable[[], bool]) -> None:
    """Until it holds. Raises RuntimeError when it does not in time."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > _LIMIT_SECONDS:
            raise RuntimeError(f"not within {_LIMIT_SECONDS:.0f} s: {what}")
        time.sleep(0.05)


def assigned(log: Path) -> list[int]:
    """How many partitions a worker had after each rebalance, by its log."""
    found = re.findall(r"partitions \[(.*?)\] of \S+ are assigned", log.read_text())
    return [len(each.split(",")) if each else 0 for each in found]


@click.command()
@click.option("--calls", default=200_000, show_default=True)
@click.option("--moves", default=20, show_default=True)
@click.option("--seed", default=7, show_default=True)
def main(calls: int, moves: int, seed: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(directory) / "kafka") as cluster:
        brokers = cluster.bootstrap()
        make_topics(brokers, "calls", *(f"completed{kind}" for kind in OUTPUTS))
        start = int((time.time() - calls / _RATE - 600) * 1000)
        begun = (event for event in events(seed, calls, _RATE, start) if not is_end(event[2]))
        records = sum(map(len, produced(brokers, "calls", begun)))
        env = environment(brokers, "moves", "calls", "completed", LOG_LEVEL="info", SESSION_TIMEOUT="6s")
        stays, comes = Path(directory) / "stays", Path(directory) / "comes"
        with worker(env, stays) as first:
            offsets = Offsets(brokers, "moves", "calls")
            wait("the load is read", lambda: offsets.committed() >= records)
            print(f"{calls:,} open calls in {PARTITIONS} partitions")
            _measure(env, moves, first.pid, stays, comes)


def _measure(env: dict[str, str], moves: int, pid: int, stays: Path, comes: Path) -> None:
    print("| move | partitions | RSS, MiB |\n| --- | --- | --- |")
    print(f"| 0 | {PARTITIONS} | {resident(pid):.0f} |")
    for move in range(1, moves + 1, 2):
        comes.write_bytes(b"")
        with worker(env, comes) as other:
            wait(
                "half of it moves", lambda: sum(assigned(comes)[-1:]) > 0 and assigned(stays)[-1] < PARTITIONS
            )
            time.sleep(1)
            print(f"| {move} | {assigned(stays)[-1]} | {resident(pid):.0f} |", flush=True)
            other.send_signal(SIGTERM)
            other.wait(30)
        wait("it comes back", lambda: assigned(stays)[-1] == PARTITIONS)
        time.sleep(1)
        print(f"| {move + 1} | {PARTITIONS} | {resident(pid):.0f} |", flush=True)


if __name__ == "__main__":
    main()
