"""Rules and dashboard in a real Prometheus, on a real worker on a real Kafka, while things break and are repaired."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from monitoring.expressions import RUNBOOK_QUERIES
from monitoring.test_dashboard import expressions
from support.kafka import Record, produce
from support.prometheus import Prometheus, faster, free_port
from support.worker import Setup, Worker, wait_for

from streams.embedded import Cluster
from streams.operations.simulation import Mix, events

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(
        not shutil.which("prometheus"),
        reason="prometheus is not on the PATH (Debian: apt install prometheus)",
    ),
]
#: How many times faster than in production the rules look and lose patience: a minute is three seconds.
PACE = 20
HOUR = 3_600_000
CALLS_A_SECOND = 40


class Traffic:
    """Call events as they happen, valid ones only, from a thread; survives brokers that are away."""

    def __init__(self, setup: Setup) -> None:
        self._topic = setup.calls
        self._producer = Producer(
            {"bootstrap.servers": setup.brokers, "log_level": "0", "reconnect.backoff.max.ms": 500}
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.flows = True
        self.priced = True

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(10)

    def _run(self) -> None:
        start = int(time.time() * 1000) - HOUR
        happening = events(1, None, CALLS_A_SECOND, start, Mix(invalid=0))
        while not self._stopped.wait(0.1):
            for _ in range(CALLS_A_SECOND * 4 // 10 if self.flows else 0):
                _, key, value = next(happening)
                with suppress(BufferError):
                    self._producer.produce(self._topic, self._as_told(value), key)
            self._producer.poll(0)

    def _as_told(self, value: bytes) -> bytes:
        if self.priced:
            return value
        return json.dumps({k: v for k, v in json.loads(value).items() if not k.startswith("price")}).encode()


def a_call(status: str, **more: str) -> bytes:
    return json.dumps(
        {
            "id": "0b2f5c3e-7a54-4b6e-9d0c-2f4f0a4f7f01",
            "status": status,
            "direction": "inbound",
            "from": "+12125550123",
            "to": "+14155550123",
            "url": "https://voice.example.com/flow",
            "status_callback": "https://hooks.example.com/events",
            **more,
        }
    ).encode()


def an_old_call() -> list[Record]:
    """Open for 13 hours, and heard of three hours ago: older than twice the timeout, and not timed out."""
    now = int(time.time() * 1000)
    told = [("queued", 13), ("ringing", 8), ("in-progress", 3)]
    return [Record(a_call(status), b"old", now - hours * HOUR, partition=0) for status, hours in told]


@pytest.fixture
def setup(own_broker: Callable[..., Cluster]) -> tuple[Setup, Cluster]:
    cluster = own_broker()
    port = free_port()
    setup = Setup(
        cluster.bootstrap(), partitions=2, settings={"HTTP_PORT": str(port), "COMMIT_INTERVAL": "500ms"}
    )
    setup.create()
    return setup, cluster


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_alerts_fire_and_clear_and_every_panel_shows_something(
    setup: tuple[Setup, Cluster], tmp_path: Path
) -> None:
    ours, cluster = setup
    target = f"127.0.0.1:{ours.settings['HTTP_PORT']}"
    produce(ours.brokers, ours.calls, an_old_call())
    with (
        Prometheus(tmp_path / "prometheus", target, faster(PACE)) as prometheus,
        Traffic(ours) as traffic,
    ):
        with kept_running(ours, tmp_path / "log"):
            an_old_call_is_told_of_until_it_ends(prometheus, ours)
            all_panels_show_something(prometheus)
            traffic.priced = False
            a_broker_that_is_away_is_told_of(prometheus, cluster)
            a_flood_of_garbage_is_told_of(prometheus, traffic, ours)
        fires(prometheus, "TelefonieNoWorkers", "TelefonieWorkersMissing")
        with a_transaction_in_the_changelog(ours), Worker(ours, tmp_path / "log"):
            clears(prometheus, "TelefonieNoWorkers", "TelefonieWorkersMissing")
            fires(prometheus, "TelefoniePartitionsUnassigned")
        a_worker_that_crashes_is_told_of(prometheus, ours, tmp_path / "log")
        with kept_running(ours, tmp_path / "log"):
            clears(prometheus, "TelefoniePartitionsUnassigned")
            fires(prometheus, "TelefonieChargesStopped", patience=300)
            traffic.priced = True
            all_clear(prometheus)
            assert prometheus.faulty_rules() == {}


@contextmanager
def kept_running(setup: Setup, log: Path) -> Iterator[None]:
    """A worker, started again when it gives up, as its orchestrator would."""
    stopped = threading.Event()

    def run() -> None:
        while not stopped.is_set():
            with Worker(setup, log) as worker:
                while worker.running and not stopped.wait(0.2):
                    pass
                if worker.running:
                    worker.terminate(60)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(90)


def fires(prometheus: Prometheus, *names: str, patience: float = 90) -> None:
    began = time.monotonic()
    wait_for(f"{names} fire", lambda: set(names) <= prometheus.firing(), patience, every=0.5)
    print(f"{', '.join(names)}: fired after {time.monotonic() - began:.0f} s")


def clears(prometheus: Prometheus, *names: str) -> None:
    began = time.monotonic()
    wait_for(f"{names} clear", lambda: not set(names) & prometheus.firing(), 120, every=0.5)
    print(f"{', '.join(names)}: cleared after {time.monotonic() - began:.0f} s")


def all_clear(prometheus: Prometheus) -> None:
    wait_for("no alert fires", lambda: not prometheus.firing(), 120, every=0.5)
    for _ in range(10):
        time.sleep(0.5)
        assert prometheus.firing() == set()


def an_old_call_is_told_of_until_it_ends(prometheus: Prometheus, setup: Setup) -> None:
    fires(prometheus, "TelefonieOpenCallsTooOld", patience=120)
    # It ends with a price above zero, which is a refund.
    produce(
        setup.brokers,
        setup.calls,
        [Record(a_call("completed", price="0.5", price_unit="EUR"), b"old", partition=0)],
    )
    clears(prometheus, "TelefonieOpenCallsTooOld")


def all_panels_show_something(prometheus: Prometheus) -> None:
    all_clear(prometheus)
    values = {"$__rate_interval": "20s", "$__range": "1m", "$namespace": ".*", "$job": "telefonie"}
    shown: list[tuple[str, str]] = list(expressions(values))

    def empty() -> list[tuple[str, str]]:
        return [(title, expression) for title, expression in shown if not prometheus.query(expression)]

    wait_for("every panel shows something", lambda: not empty(), 60, every=2)
    for query in RUNBOOK_QUERIES:
        prometheus.query(query)
    target: dict[str, Any] = prometheus.target()
    assert (target["health"], target["lastError"]) == ("up", "")


def a_broker_that_is_away_is_told_of(prometheus: Prometheus, cluster: Cluster) -> None:
    (broker,) = cluster.brokers
    broker.kill()
    fires(prometheus, "TelefonieCommitsStalled")
    broker.start()
    all_clear(prometheus)


def a_flood_of_garbage_is_told_of(prometheus: Prometheus, traffic: Traffic, setup: Setup) -> None:
    traffic.flows = False
    expected = {"TelefonieRejectsHigh", "TelefonieDeadLetters", "TelefonieNoEvents"}

    def flooded() -> bool:
        produce(setup.brokers, setup.calls, [Record(b"{}")] * 20)
        return expected <= prometheus.firing()

    wait_for(f"{expected} fire", flooded, 120, every=0.5)
    traffic.flows = True
    clears(prometheus, *expected)


@contextmanager
def a_transaction_in_the_changelog(setup: Setup) -> Iterator[None]:
    """A stranger's open transaction: what follows it cannot be read, so no state can be restored."""
    producer = Producer(
        {"bootstrap.servers": setup.brokers, "transactional.id": "somebody-else", "log_level": "0"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for partition in range(setup.partitions):
        producer.produce(f"{setup.group}-calls-changelog", b"", b"not ours", partition=partition)
    producer.flush(30)
    try:
        yield
    finally:
        producer.abort_transaction(30)


def a_worker_that_crashes_is_told_of(prometheus: Prometheus, setup: Setup, log: Path) -> None:
    for _ in range(3):
        before = prometheus.query("process_start_time_seconds")
        with Worker(setup, log):
            wait_for(
                "the new worker was scraped",
                lambda before=before: (
                    (now := prometheus.query("process_start_time_seconds"))
                    and now[0]["value"][1] not in {each["value"][1] for each in before}
                ),
                every=0.2,
            )
    fires(prometheus, "TelefonieWorkerRestarting")
