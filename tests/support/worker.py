"""Real worker processes on a real Kafka, and what they must have published."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from support.kafka import Record, committed_offsets, create_topics, read_topic

from streams.calls.partition import CallsPartition
from streams.calls.repartition import Origin

WALL = 1 << 60
OUTPUTS = ("completed", "kpis", "dead")


@dataclass
class Setup:
    """The topics and the settings of one group of workers, all of its own."""

    brokers: str
    partitions: int = 4
    replication: int = -1
    settings: Mapping[str, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"t{uuid4().hex[:10]}")

    @property
    def calls(self) -> str:
        return f"{self.name}.calls"

    def topic(self, kind: str) -> str:
        """`completed`, `kpis` or `dead`."""
        return f"{self.name}.{kind}"

    @property
    def group(self) -> str:
        return f"{self.name}-app"

    @property
    def source(self) -> str:
        """The topic whose events are applied."""
        return f"{self.group}-repartition" if self.settings.get("REPARTITION") == "true" else self.calls

    def create(self) -> None:
        """Make the topics."""
        self._create(self.calls, *map(self.topic, OUTPUTS))

    def create_outputs(self, *kinds: str) -> None:
        """Make these output topics, or all, beside a calls topic that exists."""
        self._create(*map(self.topic, kinds or OUTPUTS))

    def create_changelog(self) -> None:
        """Make the topic of the state, which the first worker makes otherwise."""
        self._create(f"{self.group}-calls-changelog", policy="compact")

    def _create(self, *names: str, policy: str = "delete") -> None:
        forever = {"retention.ms": "-1", "max.message.bytes": "2097152", "cleanup.policy": policy}
        create_topics(
            self.brokers, *names, partitions=self.partitions, replication=self.replication, config=forever
        )

    def env(self) -> dict[str, str]:
        """The environment of a worker."""
        own = {
            "BROKERS": self.brokers,
            "APP_ID": self.group,
            "CALLS_TOPIC": self.calls,
            "COMPLETED_TOPIC": self.topic("completed"),
            "KPIS_TOPIC": self.topic("kpis"),
            "DEAD_TOPIC": self.topic("dead"),
            "HTTP_PORT": "0",
            **self.settings,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TELEFONIE_")}
        return kept | {f"TELEFONIE_{name}": value for name, value in own.items()}

    def committed(self) -> int:
        """Offsets committed by the group in the topic whose events are applied, over all partitions."""
        return self.committed_of(self.source)

    def committed_of(self, topic: str) -> int:
        """Offsets committed by the group, over all partitions of a topic."""
        return sum(committed_offsets(self.brokers, self.group, topic).values())


_STACKS = "import faulthandler, signal; faulthandler.register(signal.SIGQUIT)"


class Worker:
    """One `telefonie worker`; its log is in a file. Killed at the end of the `with` if it still runs.

    `before` is code that its process runs first: see `support.inject`.
    """

    def __init__(
        self,
        setup: Setup,
        log: Path,
        *options: str,
        env: Mapping[str, str] | None = None,
        before: str = "",
    ) -> None:
        self.log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        command = f"{_STACKS}\n{before}\nfrom streams.cli import main\nmain(prog_name='telefonie')"
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", command, "worker", *options],
                env=setup.env() | {f"TELEFONIE_{name}": value for name, value in (env or {}).items()},
                stdout=subprocess.PIPE,
                stderr=out,
            )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, failed: object = None, *_: object) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.kill()
        if failed:
            print(f"the end of {self.log}:\n{self.said()[-8000:]}")

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_bytes()[self._log_start :].decode("utf-8", "replace")

    def assignments(self) -> list[list[int]]:
        """The partitions it had after each rebalance so far."""
        return [
            json.loads(found)
            for found in re.findall(r"partitions (\[.*?\]) of \S+ are assigned", self.said())
        ]

    def restored(self) -> list[list[int]]:
        """The partitions that it has restored, each time."""
        return [json.loads(found) for found in re.findall(r"restored partitions (\[.*?\])", self.said())]

    def get(self, path: str) -> int:
        """The status with which its web server answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def asked(self, path: str) -> tuple[int, Any]:
        """Status and JSON document of its web server's answer."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as answer:
                return int(answer.status), json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def page(self, path: str) -> str:
        """What its web server answers."""
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return str(answer.read().decode())

    @property
    def url(self) -> str:
        """That of its web server."""
        found = re.search(r"HTTP is at (\S+),", self.said())
        assert found, "the web server is not there yet"
        return found[1]

    @property
    def running(self) -> bool:
        """Whether its process exists."""
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def ends(self, timeout: float = 60) -> int:
        """Wait until it ends by itself; returns the exit code. Where it does not, its log says what it waits for."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            time.sleep(1)
            raise

    def kill(self) -> None:
        """SIGKILL."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def terminate(self, timeout: float = 30) -> int:
        """SIGTERM, once it hears signals; returns the exit code."""
        wait_for("it hears signals", lambda: "HTTP is at" in self.said() or not self.running)
        self.process.terminate()
        return self.ends(timeout)

    def finish(self, timeout: float = 120) -> str:
        """Wait for an exit with code 0; returns stdout."""
        out, _ = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, self.log.read_text()[-4000:]
        return out.decode()


def end(brokers: str, topic: str, timeout: float = 30) -> int:
    """Offsets in the topic, over all partitions; a broker that has just come back may need a while to say."""
    give_up = time.monotonic() + timeout
    while True:
        consumer = Consumer({"bootstrap.servers": brokers, "group.id": "tests.end", "log_level": "0"})
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in partitions)
        except KafkaException:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)
        finally:
            consumer.close()


def wait_until_done(setup: Setup, sending: Future[int] | None = None, timeout: float = 60) -> None:
    """Wait until everything is sent, and committed."""
    if sending is not None:
        sending.result(timeout)
    for topic in dict.fromkeys((setup.calls, setup.source)):
        wanted = end(setup.brokers, topic)
        wait_for(
            f"{topic} is committed",
            lambda topic=topic, wanted=wanted: setup.committed_of(topic) >= wanted,
            timeout,
            every=0.2,
        )


def run_until_caught_up(setup: Setup, log: Path, timeout: float = 120) -> str:
    """A worker that processes what is in the topic and stops; returns its summary."""
    with Worker(setup, log, "--until-caught-up", "--json") as worker:
        return worker.finish(timeout)


def wait_for(what: str, condition: object, timeout: float = 60, every: float = 0.05) -> None:
    """Wait until `condition()` holds; fails with `what` when it does not in time."""
    give_up = time.monotonic() + timeout
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < give_up, f"not within {timeout} s: {what}"
        time.sleep(every)


@dataclass
class Expected:
    """What the pure fold of the log says, by topic."""

    completed: list[tuple]
    dead: list[tuple]
    kpis: dict[bytes, bytes]


def fold(setup: Setup, log: Iterable[Record]) -> Expected:
    """The fold over a log of the topic whose events are applied: record by record, no batch plays a part."""
    make = processors(setup)
    partitions = {number: make(number) for number in range(setup.partitions)}
    expected = Expected([], [], {})
    for record in log:
        partition = partitions[record.partition]
        stamp = -1 if record.timestamp is None else record.timestamp
        read = [(record.offset, stamp, record.key, record.value, list(record.headers))]
        while not partition.process(read, WALL):
            pass  # much is due
        if len(partition.completed) > 1000 or partition.ledger.read % 2000 == 0:
            _collect(expected, partition, record.partition)
    for number, partition in partitions.items():
        _collect(expected, partition, number)
    return expected


def _collect(expected: Expected, partition: CallsPartition, number: int) -> None:
    outputs = partition.checkpoint().outputs
    expected.completed += [(number, *each[:3]) for each in outputs["completed"]]
    expected.dead += [(number, key, value, tuple(said)) for key, value, _, said in outputs["dead"]]
    expected.kpis |= {key: value for key, value, *_ in outputs["kpis"]}


def processors(setup: Setup) -> Callable[[int], CallsPartition]:
    """What makes the processor of a partition, with the setup's settings."""
    from streams.settings import Settings
    from streams.wiring import config_of

    make = config_of(Settings.load(setup.env())).processor
    return lambda number: cast(CallsPartition, make(number, None))


def check_exactly_once(setup: Setup) -> Expected:
    """The read_committed outputs are, record by record, what the fold says: none missing, none twice, in order."""
    expected = fold(setup, read_topic(setup.brokers, setup.source))
    found = read_topic(setup.brokers, setup.topic("completed"))
    _same("completed", ((r.partition, r.key, r.value, r.timestamp) for r in found), expected.completed)
    dead = read_topic(setup.brokers, setup.topic("dead"))
    _same("dead", ((r.partition, r.key, r.value, tuple(r.headers)) for r in dead), expected.dead)
    assert all(time.time() * 1000 - (r.timestamp or 0) < 3_600_000 for r in dead), "that of the writing"
    kpis = {r.key: r.value for r in read_topic(setup.brokers, setup.topic("kpis"))}
    assert kpis == expected.kpis
    return expected


def check_repartitioned(setup: Setup) -> list[Record]:
    """The internal topic holds every record of the calls topic once: as it was, in order, under its call id.

    Returns its records, with their own keys and headers.
    """
    calls = {(r.partition, r.offset): r for r in read_topic(setup.brokers, setup.calls)}
    places: dict[bytes | None, set[int | None]] = {}
    last: dict[tuple[int | None, int], int] = {}
    found: dict[tuple[int, int], Record] = {}
    for record in read_topic(setup.brokers, setup.source):
        *headers, (name, said) = record.headers
        origin = msgspec.msgpack.decode(said or b"", type=Origin)
        partition, offset, key = origin.partition, origin.offset, origin.key
        original = calls[partition, offset]
        timestamp = record.timestamp if origin.timestamp is None else origin.timestamp
        timestamp = None if timestamp == -1 else timestamp
        restored = replace(record, key=key, headers=tuple(headers), timestamp=timestamp)
        # Clients say both -1 and nothing of a record without a timestamp.
        original = replace(original, timestamp=None if original.timestamp == -1 else original.timestamp)
        assert replace(restored, partition=partition, offset=offset) == original
        assert name == "telefonie-origin"
        assert (partition, offset) not in found, "a record was sent on twice"
        assert last.get((record.partition, partition), -1) < offset, "records were sent on out of order"
        last[record.partition, partition] = offset
        found[partition, offset] = restored
        places.setdefault(record.key, set()).add(record.partition)
    assert len(found) == len(calls), f"{len(calls) - len(found)} records were not sent on"
    assert all(len(where) == 1 for key, where in places.items() if key is not None)
    return list(found.values())


def check_at_least_once(setup: Setup) -> Expected:
    """What any reader may see: every revision the fold says or a later one, nothing else, the last one last."""
    expected = fold(setup, read_topic(setup.brokers, setup.source))
    said = {(key, value) for _, key, value, _ in expected.completed}
    last = {key: value for _, key, value, _ in expected.completed}
    found = read_topic(setup.brokers, setup.topic("completed"), read_committed=False)
    assert {(r.key, r.value) for r in found} <= said
    assert {r.key: r.value for r in found} == last
    dead = read_topic(setup.brokers, setup.topic("dead"), read_committed=False)
    assert {(r.key, r.value, tuple(r.headers)) for r in dead} == {
        (key, value, headers) for _, key, value, headers in expected.dead
    }
    return expected


def _same(what: str, found: Iterable[tuple], expected: Iterable[tuple]) -> None:
    """The same records in the same order in each partition; else says where they part."""
    left, right = _by_partition(found), _by_partition(expected)
    for number in sorted(left.keys() | right.keys()):
        ours, theirs = left.get(number, []), right.get(number, [])
        missing, more = Counter(theirs) - Counter(ours), Counter(ours) - Counter(theirs)
        at = next(
            (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
            min(len(ours), len(theirs)),
        )
        assert ours == theirs, (
            f"{what}, partition {number}: {len(ours)} found, {len(theirs)} expected, {missing.total()} missing, "
            f"{more.total()} that should not be; from {at} on found {ours[at : at + 2]}, expected {theirs[at : at + 2]}"
        )


def _by_partition(records: Iterable[tuple]) -> dict[int, list[tuple]]:
    lists: dict[int, list[tuple]] = {}
    for number, *rest in records:
        lists.setdefault(number, []).append(tuple(rest))
    return lists
