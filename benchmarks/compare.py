"""Our worker beside the others: one Kafka, one load, side by side in one run.

    python -m benchmarks.compare [--calls 100000] [--rounds 3] [--only worker,plain_faust] [--write]

Everybody is measured from outside, by the same means: from the assignment of the partitions (the start of the process
is left out) until the group's committed offsets are at the end; the system says what CPU the process used in between.
Who commits seldom looks slower by up to one interval. Rates depend on what else the machine does;
compare by the CPU first, and only within one run. The contestants take turns.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from rich.console import Console
from rich.table import Table

from benchmarks.load import PARTITIONS, make_topics, produce
from streams.embedded import Cluster

SMALL = ("plain_faust", "plain_faust_eos")  # a hundredth of the others' rate: a smaller load
CONTESTANTS = ("worker", "worker_alo", "confluent_loop", "aiokafka_loop", *SMALL)
_TICKS = os.sysconf("SC_CLK_TCK")
_LIMIT_SECONDS = 300
_ROOT = Path(__file__).parents[1]
_BEGIN, _END = "<!-- compare -->", "<!-- /compare -->"


@dataclass
class Run:
    """One contestant's way through the load."""

    records_per_second: float
    cpu_per_million: float
    broker_cpu_per_million: float


@dataclass
class Bench:
    """One broker with two loads in it."""

    brokers: str
    broker_pid: int
    #: Topic and records of the load, and of the small one.
    large: tuple[str, int]
    small: tuple[str, int]
    runs: dict[str, list[Run]] = field(default_factory=dict)


@contextmanager
def bench(calls: int, small_calls: int, seed: int) -> Iterator[Bench]:
    """A broker with the load in it, and a small one for those that take long."""
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(directory)) as cluster:
        brokers = cluster.bootstrap()
        make_topics(brokers, "large", "small")
        large, small = produce(brokers, "large", calls, seed), produce(brokers, "small", small_calls, seed)
        yield Bench(brokers, cluster.brokers[0].pid, ("large", large), ("small", small))


def measure(at: Bench, name: str, group: str) -> Run:
    """Let one contestant do its load."""
    topic, records = at.small if name in SMALL else at.large
    out = f"{group}.completed"
    make_topics(at.brokers, *(f"{out}{kind}" for kind in ("", ".dead", ".kpis", ".changelog")))
    with start(at, name, group, topic, out) as process:
        group_of = Group(at.brokers, group, topic)
        _wait(process, group_of.is_assigned)
        begun, cpu, broker = time.monotonic(), cpu_seconds(process.pid), cpu_seconds(at.broker_pid)
        _wait(process, lambda: group_of.committed() >= records)
        seconds = time.monotonic() - begun
        cpu, broker = cpu_seconds(process.pid) - cpu, cpu_seconds(at.broker_pid) - broker
    return Run(records / seconds, cpu / records * 1e6, broker / records * 1e6)


def _wait(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + _LIMIT_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > give_up:
            raise SystemExit(f"{process.args!r} ended or took too long")
        time.sleep(0.02)


@contextmanager
def start(at: Bench, name: str, group: str, topic: str, out: str) -> Iterator[subprocess.Popen[bytes]]:
    """The contestant's process; killed at the end."""
    environment = dict(os.environ)
    if name.startswith("worker"):
        command = ["streams", "worker"]
        environment |= {
            "TELEFONIE_BROKERS": at.brokers,
            "TELEFONIE_APP_ID": group,
            "TELEFONIE_CALLS_TOPIC": topic,
            "TELEFONIE_COMPLETED_TOPIC": out,
            "TELEFONIE_KPIS_TOPIC": f"{out}.kpis",
            "TELEFONIE_DEAD_TOPIC": f"{out}.dead",
            "TELEFONIE_HTTP_PORT": "0",
            "TELEFONIE_GUARANTEE": "at_least_once" if name == "worker_alo" else "exactly_once",
            "TELEFONIE_LOG_LEVEL": "error",
        }
    else:
        command = [f"benchmarks.peers.{name.removesuffix('_eos')}", at.brokers, group, topic, out]
        if name in SMALL:
            command.append("exactly_once" if name.endswith("_eos") else "at_least_once")
    with subprocess.Popen(
        [sys.executable, "-m", *command], cwd=_ROOT, env=environment, stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


class Group:
    """What a group has, and what it has committed."""

    def __init__(self, brokers: str, group: str, topic: str) -> None:
        # Not read_committed: it would wait for transactions that are under way.
        self._consumer = Consumer(
            {"bootstrap.servers": brokers, "group.id": group, "isolation.level": "read_uncommitted"}
        )
        self._admin, self._group = AdminClient({"bootstrap.servers": brokers}), group
        self._partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]

    def is_assigned(self) -> bool:
        """Whether the partitions have been given to a member: from now on it can work."""
        try:
            found = self._admin.describe_consumer_groups([self._group])[self._group].result(10)
        except KafkaException:
            return False
        return any(member.assignment and member.assignment.topic_partitions for member in found.members)

    def committed(self) -> int:
        """Offsets, over all partitions: the load has no gaps."""
        try:
            found = self._consumer.committed(self._partitions, timeout=10)
        except KafkaException:
            return 0
        return sum(max(0, place.offset) for place in found)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def table(runs: dict[str, list[Run]]) -> list[list[str]]:
    """Rows for people: medians with their spread, and ratios of medians to ours."""
    rows = []
    ours = runs.get("worker") or next(iter(runs.values()))
    our_rate, our_cpu = _median(ours, "records_per_second"), _median(ours, "cpu_per_million")
    for name, each in runs.items():
        rate, cpu = _median(each, "records_per_second"), _median(each, "cpu_per_million")
        rates = sorted(run.records_per_second for run in each)
        cpus = sorted(run.cpu_per_million for run in each)
        rows.append(
            [
                name,
                f"{rates[0]:,.0f} / {rate:,.0f} / {rates[-1]:,.0f}",
                f"{cpus[0]:.1f} / {cpu:.1f} / {cpus[-1]:.1f}",
                f"{_median(each, 'broker_cpu_per_million'):.1f}",
                f"{our_rate / rate:.2f}",
                f"{cpu / our_cpu:.2f}",
            ]
        )
    return rows


def _median(runs: list[Run], what: str) -> float:
    return statistics.median(getattr(run, what) for run in runs)


HEAD = [
    "contestant",
    "events/s (min / median / max)",
    "CPU-s per 1M events (min / median / max)",
    "broker's CPU-s",
    "our rate, times theirs",
    "their CPU, times ours",
]


@click.command()
@click.option(
    "--calls", default=100_000, show_default=True, help="Calls in the load; about 4.3 records each."
)
@click.option("--small-calls", default=5_000, show_default=True, help="Calls in the load of plain Faust.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option("--only", default=",".join(CONTESTANTS), show_default=True)
@click.option("--write", is_flag=True, help="Put the table into docs/performance.md.")
def main(calls: int, small_calls: int, rounds: int, seed: int, only: str, write: bool) -> None:
    """Measure our worker and the others side by side."""
    console = Console()
    names = only.split(",")
    with bench(calls, small_calls, seed) as at:
        for number in range(rounds):
            for name in names:
                run = measure(at, name, f"{name}-{number}")
                at.runs.setdefault(name, []).append(run)
                console.print(
                    f"round {number + 1} {name}: {run.records_per_second:,.0f}/s, {run.cpu_per_million:.1f} CPU-s/M"
                )
    shown = Table(*HEAD)
    rows = table(at.runs)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    if write:
        _write(
            rows, f"{at.large[1]:,} records ({at.small[1]:,} for plain Faust), {rounds} rounds, seed {seed}."
        )


def _write(rows: list[list[str]], about: str) -> None:
    lines = [f"| {' | '.join(cells)} |" for cells in [HEAD, ["---"] * len(HEAD), *rows]]
    page = _ROOT / "docs" / "performance.md"
    text = page.read_text()
    before, rest = text.split(_BEGIN)
    page.write_text(f"{before}{_BEGIN}\n{about}\n\n" + "\n".join(lines) + f"\n{_END}{rest.split(_END)[1]}")


if __name__ == "__main__":
    main()
