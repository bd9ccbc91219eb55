"""How quickly a worker is back: the changelog replayed, and a restart under static membership.

    python -m benchmarks.recovery [--calls 150000] [--rounds 5]

A worker does the load and stops in order; the changelog then holds one row for each time that a call changed between
two commits. The same member is started again and again, and does nothing but take its state over: `restart` is from
`exec` to its partitions being at work, `replay` the part of it in which the changelog was read.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from pathlib import Path
from signal import SIGTERM
from typing import NamedTuple

import click

from benchmarks.load import PARTITIONS, ends, make_topics, produce
from benchmarks.measure import Offsets, cpu_seconds, follow, spread
from benchmarks.worker import OUTPUTS, environment, worker
from streams.embedded import Cluster

_LIMIT_SECONDS = 120.0


class Restart(NamedTuple):
    """Seconds until the partitions were at work, those of the replay among them, and CPU seconds until then."""

    restart: float
    replay: float
    cpu: float


def restart(env: dict[str, str], log: Path) -> Restart:
    """Start a worker, wait until its partitions are assigned and restored, stop it in order."""
    log.write_bytes(b"")
    begun = time.monotonic()
    with worker(env, log) as started:
        while " are assigned" not in (said := log.read_text()):
            if started.poll() is not None or time.monotonic() - begun > _LIMIT_SECONDS:
                raise RuntimeError(f"the worker did not come back:\n{said[-2000:]}")
            time.sleep(0.005)
        done, cpu = time.monotonic() - begun, cpu_seconds(started.pid)
        replay = re.search(r"restored partitions .* in ([0-9.]+) s", said)
        assert replay is not None, "an assignment is always preceded by its restore"
        time.sleep(0.5)
        started.send_signal(SIGTERM)
        started.wait(30)
    return Restart(done, float(replay[1]), cpu)


@click.command()
@click.option("--calls", default=150_000, show_default=True, help="Calls of the load: 4.3 records each.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seed", default=7, show_default=True)
def main(calls: int, rounds: int, seed: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(directory) / "kafka") as cluster:
        brokers, log = cluster.bootstrap(), Path(directory) / "log"
        load = produce(brokers, "calls", calls, seed)
        make_topics(brokers, *(f"completed{kind}" for kind in OUTPUTS))
        env = environment(brokers, "recovery", load.topic, "completed", INSTANCE_ID="one", LOG_LEVEL="info")
        offsets = Offsets(brokers, "recovery", load.topic)
        with worker(env, log) as first:
            follow([first], cluster.brokers[0].pid, offsets, load.records)
            first.send_signal(SIGTERM)
            first.wait(30)
        rows = ends(brokers, "recovery-calls-changelog")
        found = [restart(env, log) for _ in range(rounds)]
    rates = [rows / each.replay for each in found]
    print(f"{rows:,} changelog records of {load.calls:,} calls in {PARTITIONS} partitions; {rounds} restarts")
    print(f"restart  {spread([each.restart for each in found], '.2f')} s, of which")
    print(f"replay   {spread([each.replay for each in found], '.2f')} s, {spread(rates, ',.0f')} records/s")
    others = [each.restart - each.replay for each in found]
    print(f"the rest {spread(others, '.2f')} s")
    print(f"CPU      {statistics.median(each.cpu for each in found):.2f} s, starting Python included")


if __name__ == "__main__":
    main()
