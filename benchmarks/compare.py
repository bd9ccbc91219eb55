"""Our worker beside the others: one Kafka, one load, side by side in one run.

    python -m benchmarks.compare [--calls 150000] [--rounds 3] [--only worker,plain_faust] [--write]

The contestants take turns, in another order each round. Rates depend on what else the machine does; compare by the
CPU first, and only within one run. What each has published is counted: it must be what the rules say.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.load import Load, delete_topics, make_topics, produce
from benchmarks.measure import Offsets, Process, Run, follow, published, spread
from benchmarks.peers import kafka_streams
from benchmarks.worker import ROOT, environment, process, worker
from streams.embedded import Cluster

_BEGIN, _END = "<!-- compare -->", "<!-- /compare -->"


@dataclass(frozen=True)
class Contestant:
    """Somebody who does the work; `module` is run as a process, or our worker where there is none."""

    title: str
    guarantee: str
    module: str | None = None
    #: A hundredth of the others' rate: gets a smaller load.
    is_slow: bool = False
    #: Where our worker keeps the state of calls.
    store: str = "memory"


_EXACTLY, _AT_LEAST = "exactly_once", "at_least_once"
CONTESTANTS = {
    "worker": Contestant("telefonie worker", _EXACTLY),
    "worker_alo": Contestant("telefonie worker", _AT_LEAST),
    "worker_rocksdb": Contestant("telefonie worker, rocksdb", _EXACTLY, store="rocksdb"),
    "kafka_streams": Contestant("Kafka Streams, in memory", _EXACTLY, "kafka_streams"),
    "kafka_streams_alo": Contestant("Kafka Streams, in memory", _AT_LEAST, "kafka_streams"),
    "confluent_loop": Contestant("confluent-kafka loop", _EXACTLY, "confluent_loop"),
    "confluent_loop_alo": Contestant("confluent-kafka loop", _AT_LEAST, "confluent_loop"),
    "aiokafka_loop": Contestant("aiokafka loop", _EXACTLY, "aiokafka_loop"),
    "aiokafka_loop_alo": Contestant("aiokafka loop", _AT_LEAST, "aiokafka_loop"),
    "quix_streams": Contestant("Quix Streams", _EXACTLY, "quix_streams"),
    "quix_streams_alo": Contestant("Quix Streams", _AT_LEAST, "quix_streams"),
    "plain_faust": Contestant("plain Faust", _EXACTLY, "plain_faust", is_slow=True),
    "plain_faust_alo": Contestant("plain Faust", _AT_LEAST, "plain_faust", is_slow=True),
}


@dataclass
class Bench:
    """A broker with two loads in it."""

    brokers: str
    broker: int
    large: Load
    small: Load
    #: The interpreter for Quix Streams.
    quix_python: str | None
    #: For state on disk.
    data: Path

    def run(self, contestant: Contestant, group: str) -> Run:
        """Let a contestant do its load, as the consumer group `group`."""
        load = self.small if contestant.is_slow else self.large
        out = f"{group}.completed"
        topics = [f"{out}{kind}" for kind in ("", ".dead", ".kpis", ".changelog")]
        make_topics(self.brokers, *topics)
        with self._process(contestant, group, load.topic, out) as each:
            run = follow([each], self.broker, Offsets(self.brokers, group, load.topic), load.records)
        self._check(contestant, load, out)
        delete_topics(self.brokers, *topics)
        return run

    def _check(self, contestant: Contestant, load: Load, topic: str) -> None:
        keys = list(published(self.brokers, topic))
        if len(keys) != load.revisions or len(set(keys)) != load.calls:
            raise RuntimeError(
                f"{contestant.title} has published {len(keys)} records of {len(set(keys))} calls, "
                f"not {load.revisions} of {load.calls}"
            )

    def _process(
        self, contestant: Contestant, group: str, topic: str, out: str
    ) -> AbstractContextManager[Process]:
        """The contestant's process; killed at the end."""
        settings = {"GUARANTEE": contestant.guarantee, "STORE": contestant.store, "DATA_DIR": str(self.data)}
        env = environment(self.brokers, group, topic, out, **settings)
        if contestant.module is None:
            return worker(env)
        python = self.quix_python if contestant.module == "quix_streams" else None
        arguments = [self.brokers, group, topic, out, contestant.guarantee]
        module = f"benchmarks.peers.{contestant.module}"
        return process([python or sys.executable, "-W", "ignore", "-m", module, *arguments], env)


@contextmanager
def bench(calls: int, slow_calls: int, seed: int, quix_python: str | None) -> Iterator[Bench]:
    """A broker with the loads in it."""
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(directory) / "kafka") as cluster:
        brokers = cluster.bootstrap()
        large, small = produce(brokers, "large", calls, seed), produce(brokers, "small", slow_calls, seed)
        yield Bench(brokers, cluster.brokers[0].pid, large, small, quix_python, Path(directory) / "state")


_HEAD = [
    "contestant",
    "guarantee",
    "events/s",
    "CPU-s per 1M events",
    "2nd half",
    "the broker's",
    "RSS, MiB",
    "others' cores",
    "events per CPU-s, ours / theirs",
    "2nd half",
    "events/s, ours / theirs",
]


def rows(runs: dict[str, list[Run]]) -> list[list[str]]:
    """The table: min–median–max, and ratios of medians, of our worker with the same guarantee."""
    shown = []
    for name, each in runs.items():
        contestant = CONTESTANTS[name]
        ours = runs.get("worker" if contestant.guarantee == _EXACTLY else "worker_alo")
        rates, costs = [run.events_per_second for run in each], [run.cost for run in each]
        shown.append(
            [
                contestant.title,
                contestant.guarantee,
                spread(rates, ",.0f"),
                spread(costs, ".1f"),
                f"{statistics.median(run.late_cost for run in each):.1f}",
                f"{statistics.median(run.broker_cost for run in each):.1f}",
                f"{statistics.median(run.rss for run in each):.0f}",
                spread([run.others for run in each], ".2f"),
                _ratio(costs, [run.cost for run in ours or ()]),
                _ratio([run.late_cost for run in each], [run.late_cost for run in ours or ()]),
                _ratio([run.events_per_second for run in ours or ()], rates),
            ]
        )
    return shown


def _ratio(over: list[float], under: list[float]) -> str:
    return f"{statistics.median(over) / statistics.median(under):.2f}" if over and under else ""


@click.command()
@click.option("--calls", default=150_000, show_default=True, help="Calls of the load: 4.3 records each.")
@click.option("--slow-calls", default=8_000, show_default=True, help="Calls of plain Faust's load.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option("--only", help="Contestants, separated by commas.  [default: all that can run]")
@click.option(
    "--quix-python",
    type=click.Path(exists=True),
    help="An interpreter that has Quix Streams; without it that is left out.",
)
@click.option("--write", is_flag=True, help="Put the table into docs/performance.md.")
def main(
    calls: int,
    slow_calls: int,
    rounds: int,
    seed: int,
    only: str | None,
    quix_python: str | None,
    write: bool,
) -> None:
    """Measure our worker and the others side by side."""
    console = Console(width=200)
    names = only.split(",") if only else _able(console, quix_python)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    with bench(calls, slow_calls, seed, quix_python) as at:
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                run = at.run(CONTESTANTS[name], f"{name}-{number}")
                runs[name].append(run)
                console.print(
                    f"round {number + 1}, {name}: {run.events_per_second:,.0f}/s, {run.cost:.1f} CPU-s/M, "
                    f"others {run.others:.2f} cores",
                    highlight=False,
                )
    table = Table(*_HEAD, box=SIMPLE)
    for row in rows(runs):
        table.add_row(*row)
    console.print(table)
    if write:
        sizes = f"{at.large.records:,} records ({at.small.records:,} for plain Faust)"
        _write(rows(runs), f"{sizes}, {rounds} rounds, seed {seed}; min–median–max.")


def _able(console: Console, quix_python: str | None) -> list[str]:
    """The contestants that can run here; says why others cannot."""
    reasons = {
        "kafka_streams": kafka_streams.why_not(),
        "quix_streams": None if quix_python else "--quix-python names no interpreter",
    }
    for module, reason in reasons.items():
        if reason:
            console.print(f"without {module}: {reason}")
    return [name for name, each in CONTESTANTS.items() if not reasons.get(each.module or "")]


def _write(shown: list[list[str]], about: str) -> None:
    lines = [f"| {' | '.join(cells)} |" for cells in [_HEAD, ["---"] * len(_HEAD), *shown]]
    page = ROOT / "docs" / "performance.md"
    text = page.read_text()
    before, rest = text.split(_BEGIN)
    page.write_text(f"{before}{_BEGIN}\n{about}\n\n" + "\n".join(lines) + f"\n{_END}{rest.split(_END)[1]}")


if __name__ == "__main__":
    main()
