"""How quickly a worker is back: the changelog replayed, and a restart under static membership.

    python -m benchmarks.recovery [--calls 150000] [--rounds 5] [--store rocksdb]

A worker does the load and stops in order; the changelog then holds one row for each time that a call changed between
two commits. The same member is started again and again, and does nothing but take its state over: `restart` is from
`exec` to its partitions being at work, `replay` the part of it in which the changelog was read and the state built.
With the rocksdb store nothing of it is left to be read.
"""

from __future__ import annotations

import asyncio
import re
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
from streams.engine.restore import RestoreTarget, bounds, reader, restore
from streams.settings import Settings
from streams.wiring import config_of

_LIMIT_SECONDS = 120.0


class Restart(NamedTuple):
    """Seconds until the partitions were at work, those of the replay among them, and CPU seconds until then."""

    restart: float
    replay: float
    cpu: float


def restart(env: dict[str, str], log: Path) -> Restart:
    """Start a worker, wait until its partitions are assigned and restored, and stop it cleanly."""
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


async def replay(env: dict[str, str]) -> tuple[float, float]:
    """The same replay in this process, and nothing else: seconds, and CPU seconds."""
    config = config_of(Settings.load(env))
    async with reader(config) as consumer:
        where = await bounds(config, consumer, range(PARTITIONS))
        targets = {
            number: RestoreTarget(config.processor(number, None), each) for number, each in where.items()
        }
        begun, cpu = time.perf_counter(), time.process_time()
        await restore(config, consumer, targets, lambda _: None)
        return time.perf_counter() - begun, time.process_time() - cpu


@click.command()
@click.option("--calls", default=150_000, show_default=True, help="Calls of the load: 4.3 records each.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option("--store", type=click.Choice(["memory", "rocksdb"]), default="memory", show_default=True)
def main(calls: int, rounds: int, seed: int, store: str) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(directory) / "kafka") as cluster:
        brokers, log = cluster.bootstrap(), Path(directory) / "log"
        load = produce(brokers, "calls", calls, seed)
        make_topics(brokers, *(f"completed{kind}" for kind in OUTPUTS))
        settings = {"INSTANCE_ID": "one", "LOG_LEVEL": "info", "STORE": store, "DATA_DIR": directory}
        env = environment(brokers, "recovery", load.topic, "completed", **settings)
        offsets = Offsets(brokers, "recovery", load.topic)
        with worker(env, log) as first:
            follow([first], cluster.brokers[0].pid, offsets, load.records)
            first.send_signal(SIGTERM)
            first.wait(30)
        rows = ends(brokers, "recovery-calls-changelog")
        found = [restart(env, log) for _ in range(rounds)]
        replays = [asyncio.run(replay(env)) for _ in range(rounds)]
    print(f"{rows:,} changelog records of {load.calls:,} calls in {PARTITIONS} partitions; {rounds} restarts")
    print(f"restart   {spread([each.restart for each in found], '.2f')} s, of which")
    print(f"replay    {spread([each.replay for each in found], '.2f')} s")
    print(f"the rest  {spread([each.restart - each.replay for each in found], '.2f')} s")
    print(f"CPU       {spread([each.cpu for each in found], '.2f')} s, starting Python included")
    rates, costs = ([rows / each[part] for each in replays] for part in (0, 1))
    print(f"replay alone: {spread(rates, ',.0f')} records/s, {spread(costs, ',.0f')} records/CPU-s")


if __name__ == "__main__":
    main()
