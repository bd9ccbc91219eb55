"""For how long a partition is silent when a worker joins, leaves, is killed, or when all are restarted one by one.

    python -m benchmarks.pauses [--partitions 8,64] [--calls 200000] [--tls]
        [--only worker,kafka_streams,kafka_streams_standby] [--checkout released=FOLDER]

So many closed calls are remembered. Then their prices change at a steady rate, in turn over the partitions: each event
publishes one record. A read_committed consumer notes when records of each partition arrive; the silence of a partition
is the longest time without any, while one thing happens to the two workers of the group:

    nothing  one worker, undisturbed: what the rest is to be compared with
    join     a second one starts
    leave    it is stopped by SIGTERM
    kill     it is stopped by SIGKILL; the session timeout is 6 s
    roll     both are restarted by SIGTERM, the second one when all partitions are at work again

Partitions whose owner is another afterwards are reported separately. With `--tls` contestants reach the broker over TLS
and log in by SCRAM-SHA-512.
"""

from __future__ import annotations

import multiprocessing
import signal
import statistics
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
from aiokafka.partitioner import murmur2
from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, MemberDescription

from benchmarks.contestants import Contestant, Job, Login, chosen, with_checkouts
from benchmarks.load import make_topics, produced
from benchmarks.measure import Offsets, Process
from benchmarks.results import Rows, keep, show, with_record
from benchmarks.worker import HEAP, OUTPUTS
from streams.embedded import Cluster

_SESSION_MS = 6_000
_LIMIT_SECONDS = 90.0
_SLOWEST_REPLAY, _SLOWEST_READ = 20_000.0, 3_000.0
"""Calls a second, by a contestant that has not failed."""
_RATES = ((8, 1_000), (64, 3_000))
"""Events per second for up to this many partitions."""
_AMENDED = 20_000
"""Only the first of the calls are amended: the others are remembered."""
_TURN_SECONDS = 0.005
_SETTLE_SECONDS = 5.0
_USER, _PASSWORD = "worker", "hush-worker"
_ALL_COMPILERS = "-XX:TieredStopAtLevel=4"
"""For a broker that encrypts. With the compiler that starts fastest, as in the embedded Kafka, AES-GCM takes 8 times
as long: what one client reads holds up all others."""


class Load(NamedTuple):
    """How much there is to do, and how often everything happens."""

    partitions: int
    calls: int
    rounds: int


def call(number: int, price: int) -> tuple[bytes, bytes]:
    """The key and the value of an event of an ended call, the price in 1/10,000."""
    key = f"{number:08x}-0000-4000-a000-{number:012x}"
    document = {
        "id": key,
        "status": "completed",
        "direction": "outbound",
        "from": "+14152000000",
        "to": f"+4930901{number % 100_000:05d}",
        "start_time": "2026-01-01T00:00:00.000Z",
        "end_time": "2026-01-01T00:01:00.000Z",
        "duration": 60,
        "price": f"-{price // 10_000}.{price % 10_000:04d}",
        "price_unit": "EUR",
        "url": "https://voice.example.com/v1/accounts/AC5ef872f6/flows/main",
        "status_callback": "https://hooks.example.com/v1/accounts/AC5ef872f6/call-events",
    }
    return key.encode(), msgspec.json.encode(document)


def partition_of(key: bytes, partitions: int) -> int:
    """Where Kafka's own partitioner puts a key."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


def in_turn(calls: int, partitions: int) -> list[int]:
    """Numbers of calls such that neighbors are in consecutive partitions."""
    lanes: list[list[int]] = [[] for _ in range(partitions)]
    for number in range(calls):
        lanes[partition_of(call(number, 0)[0], partitions)].append(number)
    return [number for row in zip(*lanes, strict=False) for number in row]


def amend(brokers: str, topic: str, partitions: int, calls: int, rate: int) -> None:
    """Change the prices of calls at a steady rate, stamped with now, until killed."""
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 1, "partitioner": "murmur2_random"})
    order, begun, sent = in_turn(min(calls, _AMENDED), partitions), time.monotonic(), 0
    while True:
        due, now = int((time.monotonic() - begun) * rate), int(time.time() * 1000)
        for number in range(sent, due):
            key, value = call(order[number % len(order)], number + 1)
            producer.produce(topic, value, key, timestamp=now)
        sent = due
        producer.poll(0)
        time.sleep(_TURN_SECONDS)


@contextmanager
def amending(*arguments: Any) -> Iterator[None]:
    """`amend` in a process of its own, killed at the end."""
    process = multiprocessing.get_context("spawn").Process(target=amend, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join(10)


def longest(moments: Sequence[float], begin: float, end: float) -> float:
    """The longest time between two of these moments, in order, as far as it lies between begin and end.

    What lasts at the beginning or the end counts as far as it lies in between.
    """
    inside = moments[bisect_left(moments, begin) : bisect_left(moments, end)]
    edges = [begin, *inside, end]
    return max(later - earlier for earlier, later in pairwise(edges))


class Arrivals:
    """When records of each partition of a topic were read; reads in a thread until closed."""

    def __init__(self, brokers: str, topic: str, partitions: int) -> None:
        self.moments: list[list[float]] = [[] for _ in range(partitions)]
        self._ended = threading.Event()
        self._reader = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": "benchmarks.pauses",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.queue.backoff.ms": 1,
            }
        )
        self._reader.assign([TopicPartition(topic, number, OFFSET_END) for number in range(partitions)])
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._ended.is_set():
            found = self._reader.consume(1_000, 0.01)
            now = time.monotonic()
            for each in {message.partition() for message in found if not message.error()}:
                self.moments[each].append(now)

    def all_since(self, moment: float) -> bool:
        """Whether every partition has said something since."""
        return all(each and each[-1] > moment for each in self.moments)

    def close(self) -> None:
        """Stop reading."""
        self._ended.set()
        self._thread.join(10)
        self._reader.close()


class Group:
    """Who of a consumer group has which partition of the calls topic."""

    def __init__(self, brokers: str, job: Job) -> None:
        self._admin = AdminClient({"bootstrap.servers": brokers, "log_level": "0"})
        self._job = job

    def members(self) -> list[MemberDescription]:
        """Those of a group that is not in the middle of a rebalance; none otherwise."""
        found = self._admin.describe_consumer_groups([self._job.group])[self._job.group].result(10)
        return list(found.members) if found.state.name == "STABLE" else []

    def owners(self) -> dict[int, str]:
        """The member id for each partition."""
        return {
            place.partition: member.member_id
            for member in self.members()
            for place in member.assignment.topic_partitions
            if place.topic == self._job.calls
        }


@dataclass
class Pauses:
    """What happened, and the silence of each partition meanwhile, in seconds."""

    event: str
    stayed: list[float]
    moved: list[float]


class Scene:
    """A contestant at work, and what is done to it."""

    def __init__(
        self, contestant: Contestant, job: Job, brokers: str, load: Load, running: ExitStack, folder: Path
    ) -> None:
        self._contestant, self._job, self._load = contestant, job, load
        self._brokers = brokers
        #: A new owner has to read back what is remembered.
        self._patience = _LIMIT_SECONDS + load.calls / _SLOWEST_REPLAY
        self._running, self._folder = running, folder
        self._group, self._number = Group(brokers, job), count()
        self.workers: list[Process] = []

    def start(self) -> None:
        """One worker more."""
        log = self._folder / f"log-{next(self._number)}"
        self.workers.append(self._running.enter_context(self._contestant.start(self._job, log)))

    def stop(self, how: signal.Signals, which: int = -1) -> None:
        """Stop the last one, or another."""
        worker = self.workers.pop(which)
        worker.send_signal(how)
        worker.wait(40)

    def roll(self, arrivals: Arrivals) -> None:
        """Each is stopped and started again; the next one has its turn once every partition is at work."""
        for _ in range(len(self.workers)):
            self.stop(signal.SIGTERM, 0)
            self.start()
            self.settle(2.0)
            self._resume(arrivals)

    def settle(self, seconds: float = _SETTLE_SECONDS) -> None:
        """Wait until the group consists of those workers that there are, and so long from then on."""
        self._wait("the members are those that run", lambda: len(self._group.members()) == len(self.workers))
        time.sleep(seconds)
        self._wait("all partitions have an owner", lambda: len(self._group.owners()) == self._load.partitions)

    def _wait(self, what: str, holds: Callable[[], bool]) -> None:
        give_up = time.monotonic() + self._patience
        while not holds():
            if any(each.poll() is not None for each in self.workers) or time.monotonic() > give_up:
                said = "".join(log.read_text()[-1500:] for log in sorted(self._folder.glob("log-*")))
                raise RuntimeError(f"{self._contestant.title}: a worker ended, or never: {what}\n{said}")
            time.sleep(0.2)

    def remember(self) -> None:
        """Let one worker read the calls."""
        self.start()
        offsets = Offsets(self._brokers, self._job.group, self._job.calls, self._load.partitions)
        calls = self._load.calls
        give_up = time.monotonic() + _LIMIT_SECONDS + calls / _SLOWEST_READ
        while offsets.committed() < calls:
            if self.workers[0].poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(
                    f"{self._contestant.title} has read {offsets.committed()} of {calls} calls"
                )
            time.sleep(0.2)

    def _resume(self, arrivals: Arrivals) -> None:
        moment = time.monotonic()
        self._wait("every partition speaks", lambda: arrivals.all_since(moment))

    def during(self, event: str, arrivals: Arrivals, act: Callable[[], None]) -> Pauses:
        """Do it, wait until all is well again, and say how long each partition was silent."""
        before, begin = self._group.owners(), time.monotonic()
        act()
        self.settle()
        self._resume(arrivals)
        end, after = time.monotonic(), self._group.owners()
        silences = {
            each: longest(arrivals.moments[each], begin, end) for each in range(self._load.partitions)
        }
        moved = {each for each in silences if before[each] != after[each]}
        return Pauses(
            event,
            [seconds for each, seconds in silences.items() if each not in moved],
            [seconds for each, seconds in silences.items() if each in moved],
        )

    def play(self, rounds: int, arrivals: Arrivals) -> Iterator[Pauses]:
        """All that can happen, so many times."""
        time.sleep(_SETTLE_SECONDS)
        yield self.during("nothing", arrivals, lambda: None)
        for _ in range(rounds):
            yield self.during("join", arrivals, self.start)
            yield self.during("leave", arrivals, lambda: self.stop(signal.SIGTERM))
            yield self.during("join", arrivals, self.start)
            yield self.during("kill", arrivals, lambda: self.stop(signal.SIGKILL))
            yield self.during("join", arrivals, self.start)
            yield self.during("roll", arrivals, lambda: self.roll(arrivals))
            self.stop(signal.SIGTERM)
            self.settle()


@contextmanager
def broker(folder: Path, tls: bool) -> Iterator[tuple[Cluster, Login | None]]:
    """A broker of its own, and how contestants log in."""
    if not tls:
        with Cluster(folder / "kafka", flags=HEAP) as cluster:
            yield cluster, None
        return
    from tests.support.secured import LISTENERS, Authority, server_properties, set_password

    authority = Authority(folder / "authority")
    settings = server_properties(authority) | {"super.users": f"User:ANONYMOUS;User:{_USER}"}
    flags = (*HEAP, _ALL_COMPILERS)
    with Cluster(folder / "kafka", flags=flags, listeners=tuple(LISTENERS), settings=settings) as cluster:
        set_password(cluster.bootstrap(), _USER, _PASSWORD)
        yield cluster, Login(_USER, _PASSWORD, authority.cert)


def run(
    contestant: Contestant, cluster: Cluster, login: Login | None, load: Load, folder: Path
) -> list[Pauses]:
    """One contestant, from its first start on."""
    brokers = cluster.bootstrap()
    reached = cluster.bootstrap("SASL_SSL") if login else brokers
    job = Job(reached, "pauses", "calls", "completed", session_ms=_SESSION_MS, login=login)
    names = (job.calls, *(f"{job.completed}{kind}" for kind in OUTPUTS))
    make_topics(brokers, *names, partitions=load.partitions)
    now = int(time.time() * 1000)
    for _ in produced(brokers, job.calls, ((now, *call(number, 0)) for number in range(load.calls))):
        pass
    rate = next((rate for most, rate in _RATES if load.partitions <= most), _RATES[-1][1])
    with ExitStack() as running:
        scene = Scene(contestant, job, brokers, load, running, folder)
        scene.remember()
        arrivals = Arrivals(brokers, job.completed, load.partitions)
        running.callback(arrivals.close)
        running.enter_context(amending(brokers, job.calls, load.partitions, load.calls, rate))
        return list(scene.play(load.rounds, arrivals))


def rows(title: str, load: Load, found: list[Pauses]) -> Rows:
    """Median and worst of all partitions, over all times that the same thing happened; seconds."""
    told = []
    for event in dict.fromkeys(each.event for each in found):
        row: dict[str, Any] = {"partitions": load.partitions, "contestant": title, "event": event}
        for kind in ("stayed", "moved"):
            seconds = [one for each in found if each.event == event for one in getattr(each, kind)]
            row[kind] = len(seconds)
            row[f"{kind}_median"] = round(statistics.median(seconds), 2) if seconds else None
            row[f"{kind}_worst"] = round(max(seconds), 2) if seconds else None
        told.append(row)
    return told


@click.command()
@click.option("--partitions", default="8", show_default=True, help="How many, separated by commas.")
@click.option("--calls", default=200_000, show_default=True, help="How many are remembered.")
@click.option("--rounds", default=1, show_default=True)
@click.option("--tls", is_flag=True, help="Contestants connect over TLS and log in by SCRAM-SHA-512.")
@click.option(
    "--only", default="worker,kafka_streams,kafka_streams_standby", show_default=True, help="Contestants."
)
@with_checkouts
@with_record
def main(
    partitions: str,
    calls: int,
    rounds: int,
    tls: bool,
    only: str,
    checkouts: tuple[str, ...],
    record: str | None,
) -> None:
    """Measure and print."""
    options = {"calls": calls, "rounds": rounds, "tls": tls, "session_timeout_ms": _SESSION_MS}
    shown: Rows = []
    for number in map(int, partitions.split(",")):
        load = Load(number, calls, rounds)
        for each in chosen(only.split(","), checkouts).values():
            shown += attempt(each, load, tls)
            if record and shown:
                keep(record, options, shown)
    show(shown)


def attempt(contestant: Contestant, load: Load, tls: bool) -> Rows:
    """The rows of a contestant; none, and the reason on stderr, when it does not do its work."""
    try:
        with tempfile.TemporaryDirectory() as directory, broker(Path(directory), tls) as (cluster, login):
            found = rows(contestant.title, load, run(contestant, cluster, login, load, Path(directory)))
    except RuntimeError as error:
        click.echo(f"{load}: {error}", err=True)
        return []
    for row in found:
        click.echo(f"{row}", err=True)
    return found


if __name__ == "__main__":
    main()
