"""Two workers beside one: what an event costs when the partitions are shared out.

    python -m benchmarks.scaling [--calls 150000] [--rounds 3]

The same load once with one worker and once with two in a group, in turns. The broker's CPU is reported separately: on a
machine with two cores, two workers and a broker do not all have one.
"""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks.load import Load, delete_topics, make_topics, produce
from benchmarks.measure import Offsets, Run, follow, spread
from benchmarks.worker import OUTPUTS, environment, worker
from streams.embedded import Cluster


def run(brokers: str, broker: int, load: Load, group: str, workers: int) -> Run:
    """Let this many workers process the load."""
    completed = f"{group}.completed"
    topics = [f"{completed}{kind}" for kind in OUTPUTS]
    make_topics(brokers, *topics)
    env = environment(brokers, group, load.topic, completed)
    with ExitStack() as running:
        started = [running.enter_context(worker(env)) for _ in range(workers)]
        told = follow(started, broker, Offsets(brokers, group, load.topic), load.records)
    delete_topics(brokers, *topics)
    return told


@click.command()
@click.option("--calls", default=150_000, show_default=True, help="Calls of the load: 4.3 records each.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--seed", default=7, show_default=True)
def main(calls: int, rounds: int, seed: int) -> None:
    """Measure and print."""
    runs: dict[int, list[Run]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(directory)) as cluster:
        load = produce(cluster.bootstrap(), "calls", calls, seed)
        for number in range(rounds):
            for workers, each in runs.items():
                group = f"of-{workers}-{number}"
                each.append(run(cluster.bootstrap(), cluster.brokers[0].pid, load, group, workers))
    print(f"{load.records:,} events, {rounds} rounds; CPU-s per 1M events")
    for workers, each in runs.items():
        rss, others = statistics.median(r.rss for r in each), statistics.median(r.others for r in each)
        print(
            f"{workers} worker{'s' * (workers > 1)}: {spread([r.events_per_second for r in each], ',.0f')} events/s, "
            f"CPU {spread([r.cost for r in each], '.1f')}, the broker's "
            f"{statistics.median(r.broker_cost for r in each):.1f}, RSS {rss:.0f} MiB, others {others:.2f} cores"
        )


if __name__ == "__main__":
    main()
