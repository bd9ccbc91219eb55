"""Our worker beside the others: one Kafka, one load, side by side in one run.

    python -m benchmarks.compare [--calls 150000] [--rounds 3] [--only worker,plain_faust] [--checkout released=FOLDER]

The contestants take turns, in another order each round. Rates depend on what else the machine does; compare by the
CPU first, and only within one run. What each has published is counted: it must be what the rules say.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import click

from benchmarks.contestants import CONTESTANTS, OURS, Contestant, Job, chosen, with_checkouts
from benchmarks.load import Load, delete_topics, make_topics, produce
from benchmarks.measure import Offsets, Run, follow, published, spread
from benchmarks.results import Rows, keep, show, with_record
from benchmarks.worker import HEAP, ROOT
from streams.embedded import Cluster

_EXACTLY, _AT_LEAST = "exactly_once", "at_least_once"
_LESS = "_alo"
"""At the end of a contestant's name: at least once."""


class Entry(NamedTuple):
    """A contestant and the guarantee that it gives."""

    contestant: Contestant
    guarantee: str


@dataclass
class Bench:
    """A broker with two loads in it."""

    brokers: str
    broker: int
    large: Load
    small: Load
    #: For state on disk.
    data: Path

    def run(self, entry: Entry, group: str) -> Run:
        """Let a contestant do its load, as the consumer group `group`."""
        load = self.small if entry.contestant.is_slow else self.large
        out = f"{group}.completed"
        topics = [f"{out}{kind}" for kind in ("", ".dead", ".kpis", ".changelog")]
        make_topics(self.brokers, *topics)
        job = Job(self.brokers, group, load.topic, out, entry.guarantee, data=self.data)
        with entry.contestant.start(job) as each:
            run = follow([each], self.broker, Offsets(self.brokers, group, load.topic), load.records)
        self._check(entry.contestant, load, out)
        delete_topics(self.brokers, *topics)
        return run

    def _check(self, contestant: Contestant, load: Load, topic: str) -> None:
        keys = [each.key() for each in published(self.brokers, topic)]
        if len(keys) != load.revisions or len(set(keys)) != load.calls:
            raise RuntimeError(
                f"{contestant.title} has published {len(keys)} records of {len(set(keys))} calls, "
                f"not {load.revisions} of {load.calls}"
            )


@contextmanager
def bench(calls: int, slow_calls: int, seed: int) -> Iterator[Bench]:
    """A broker with the loads in it."""
    with (
        tempfile.TemporaryDirectory() as directory,
        Cluster(Path(directory) / "kafka", flags=HEAP) as cluster,
    ):
        brokers = cluster.bootstrap()
        large, small = produce(brokers, "large", calls, seed), produce(brokers, "small", slow_calls, seed)
        yield Bench(brokers, cluster.brokers[0].pid, large, small, Path(directory) / "state")


def rows(entries: dict[str, Entry], runs: dict[str, list[Run]]) -> Rows:
    """The table: medians, the spread of the CPU seconds, and ratios to our worker with the same guarantee."""
    shown = []
    for name, each in runs.items():
        contestant, guarantee = entries[name]
        ours = runs.get(OURS if guarantee == _EXACTLY else OURS + _LESS)
        rates, costs = [run.events_per_second for run in each], [run.cost for run in each]
        late = [run.late_cost for run in each]
        shown.append(
            {
                "contestant": contestant.title,
                "guarantee": guarantee,
                "events_per_second": round(statistics.median(rates)),
                "cpu_seconds_per_million": round(statistics.median(costs), 1),
                "spread": spread(costs, ".1f"),
                "second_half": round(statistics.median(late), 1),
                "brokers_cpu": round(statistics.median(run.broker_cost for run in each), 1),
                "rss_mib": round(statistics.median(run.rss for run in each)),
                "others_cores": round(statistics.median(run.others for run in each), 2),
                "cpu_beside_ours": _ratio(costs, [run.cost for run in ours or ()]),
                "second_half_beside_ours": _ratio(late, [run.late_cost for run in ours or ()]),
            }
        )
    return shown


def _ratio(over: list[float], under: list[float]) -> float | None:
    return round(statistics.median(over) / statistics.median(under), 2) if over and under else None


@click.command()
@click.option("--calls", default=150_000, show_default=True, help="Calls of the load: 4.3 records each.")
@click.option("--slow-calls", default=8_000, show_default=True, help="Calls of plain Faust's load.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option(
    "--only",
    help=f"Contestants, separated by commas; {_LESS} at the end: at least once.  [default: all that can run]",
)
@click.option(
    "--quix-python",
    type=click.Path(exists=True),
    help="An interpreter that has Quix Streams; without it that is left out.",
)
@with_checkouts
@with_record
def main(
    calls: int,
    slow_calls: int,
    rounds: int,
    seed: int,
    only: str | None,
    quix_python: str | None,
    checkouts: tuple[str, ...],
    record: str | None,
) -> None:
    """Measure our worker and the others side by side."""
    entries = _entries(only, quix_python, checkouts)
    names = list(entries)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    with bench(calls, slow_calls, seed) as at:
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                run = at.run(entries[name], f"{name}-{number}")
                runs[name].append(run)
                click.echo(
                    f"round {number + 1}, {name}: {run.events_per_second:,.0f}/s, {run.cost:.1f} CPU-s/M, "
                    f"others {run.others:.2f} cores",
                    err=True,
                )
    found = rows(entries, runs)
    click.echo(f"{at.large.records:,} records ({at.small.records:,} for plain Faust), {rounds} rounds")
    show(found)
    if record:
        options = {
            "records": at.large.records,
            "slow_records": at.small.records,
            "rounds": rounds,
            "seed": seed,
        }
        keep(record, options, found)


def _entries(only: str | None, quix_python: str | None, checkouts: Sequence[str]) -> dict[str, Entry]:
    """Who takes part, under which name."""
    every = (f"{name}{suffix}" for name in CONTESTANTS for suffix in ("", _LESS))
    left_out = ("worker_rocksdb", "kafka_streams_standby", *(() if quix_python else ("quix_streams",)))
    names = only.split(",") if only else [each for each in every if each.removesuffix(_LESS) not in left_out]
    able = chosen(list(dict.fromkeys(name.removesuffix(_LESS) for name in names)), checkouts)
    if quix_python and "quix_streams" in able:
        able["quix_streams"] = replace(able["quix_streams"], python=quix_python)
    found = {
        name: Entry(able[plain], _AT_LEAST if name != plain else _EXACTLY)
        for name in names
        if (plain := name.removesuffix(_LESS)) in able
    }
    return found | {name: Entry(each, _EXACTLY) for name, each in able.items() if each.checkout != ROOT}


if __name__ == "__main__":
    main()
