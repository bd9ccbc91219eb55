"""Brokers that stop, die, stall and run full: the worker waits, says so, and goes on when it can.

Plain Faust is known for commits that stall for ever behind one message that is not acknowledged.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from signal import SIGTERM

import pytest
from confluent_kafka.admin import AdminClient
from support.inject import config
from support.kafka import PATIENT_CONTROLLER, Record, produce
from support.load import produce_calls, producing, simulated
from support.proxy import APIS, Proxy
from support.worker import (
    Setup,
    Worker,
    check_at_least_once,
    check_exactly_once,
    wait_for,
    wait_until_done,
)

from streams.embedded import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
OwnBroker = Callable[..., Cluster]


def finish(worker: Worker, setup: Setup) -> None:
    """The worker, which has lived through it, has done everything; now it stops in order."""
    assert worker.running, worker.said()[-3000:]
    assert worker.terminate() == 0, worker.said()[-3000:]
    check_exactly_once(setup)
    check_at_least_once(setup)


@pytest.mark.parametrize("how", [pytest.param("stop", marks=pytest.mark.slow), "kill"])
def test_the_only_broker_is_stopped_and_started_under_load(
    own_broker: OwnBroker, tmp_path: Path, seed: int, chance: Random, how: str
) -> None:
    cluster = own_broker()
    setup = Setup(cluster.bootstrap())
    setup.create()
    (broker,) = cluster.brokers
    with (
        producing(setup.brokers, setup.calls, 2_000, seed, seconds=6) as sending,
        Worker(setup, tmp_path / "log") as worker,
    ):
        wait_for("a commit", setup.committed)
        time.sleep(chance.uniform(0, 1))
        getattr(broker, how)()
        time.sleep(chance.uniform(1, 4))
        broker.start()
        wait_until_done(setup, sending)
        finish(worker, setup)


def test_a_broker_that_stalls_is_waited_for(own_broker: OwnBroker, tmp_path: Path, seed: int) -> None:
    cluster = own_broker(settings=PATIENT_CONTROLLER)
    setup = Setup(cluster.bootstrap(), settings={"COMMIT_INTERVAL": "5s"})
    setup.create()
    (broker,) = cluster.brokers
    more = simulated(2_000, seed + 1)
    with Worker(setup, tmp_path / "log") as worker:
        produce_calls(setup.brokers, setup.calls, 500, seed)
        wait_for("a commit", setup.committed)
        produce(setup.brokers, setup.calls, more)  # which the next commit, seconds from now, is about
        broker.pause()
        wait_for("it says so", lambda: "waiting for the brokers" in worker.said(), 25)
        assert worker.get("/ready") == 503
        assert worker.get("/live") == 200
        broker.resume()
        wait_until_done(setup)
        finish(worker, setup)


def test_a_node_of_three_dies_the_leader_of_the_partition(
    own_broker: OwnBroker, tmp_path: Path, seed: int
) -> None:
    cluster = own_broker(nodes=3)
    setup = Setup(cluster.bootstrap(), partitions=1, replication=3)
    setup.create()
    admin = AdminClient({"bootstrap.servers": setup.brokers, "log_level": "0"})
    with (
        producing(setup.brokers, setup.calls, 2_000, seed, seconds=8) as sending,
        Worker(setup, tmp_path / "log") as worker,
    ):
        wait_for("a commit", setup.committed)
        leader = admin.list_topics(setup.calls, timeout=10).topics[setup.calls].partitions[0].leader
        cluster.brokers[leader - 1].kill()
        wait_until_done(setup, sending, timeout=90)
        finish(worker, setup)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nodes_of_three_die_one_after_the_other(
    own_broker: OwnBroker, tmp_path: Path, seed: int, chance: Random
) -> None:
    cluster = own_broker(nodes=3)
    setup = Setup(cluster.bootstrap(), partitions=6, replication=3)
    setup.create()
    with (
        producing(setup.brokers, setup.calls, 20_000, seed, seconds=90) as sending,
        Worker(setup, tmp_path / "log") as worker,
    ):
        wait_for("a commit", setup.committed)
        for _ in range(6):
            broker = chance.choice(cluster.brokers)
            broker.kill()
            time.sleep(chance.uniform(1, 8))
            broker.start()
            time.sleep(8)  # it catches up, so that there are always two
        wait_until_done(setup, sending, timeout=180)
        finish(worker, setup)


@pytest.fixture
def proxied(own_broker: OwnBroker) -> Iterator[tuple[Cluster, Proxy]]:
    """A broker that clients reach only through a proxy, whatever they ask it for its address."""
    with Proxy() as proxy:
        cluster = own_broker(settings={"advertised.listeners": f"PLAINTEXT://127.0.0.1:{proxy.port}"})
        proxy.target = int(cluster.brokers[0].address().rpartition(":")[2])
        yield cluster, proxy


@pytest.mark.timeout(400)
@pytest.mark.parametrize("drops", [15, pytest.param(150, marks=pytest.mark.slow)])
def test_connections_are_dropped_and_delayed(
    proxied: tuple[Cluster, Proxy], tmp_path: Path, seed: int, chance: Random, drops: int
) -> None:
    """At any moment: aiokafka gave up on one that was lost while it looked for a coordinator."""
    _, proxy = proxied
    setup = Setup(f"127.0.0.1:{proxy.port}")
    setup.create()
    with (
        producing(setup.brokers, setup.calls, 60 * drops, seed, seconds=drops / 2) as sending,
        Worker(setup, tmp_path / "log") as worker,
    ):
        wait_for("a commit", setup.committed)
        for _ in range(drops):
            time.sleep(chance.uniform(0.05, 0.8))
            proxy.delay = chance.choice([0, 0, 0.005, 0.05])
            proxy.drop()
        proxy.delay = 0
        wait_until_done(setup, sending, timeout=150)
        finish(worker, setup)


#: What a worker asks for at its start, before it is a worker: that one is not tried again.
FIRST = {"Metadata", "ApiVersions"}


@pytest.mark.parametrize("losses", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_connection_is_lost_with_each_kind_of_request(
    proxied: tuple[Cluster, Proxy], tmp_path: Path, seed: int, losses: int
) -> None:
    """Before the broker has it, and with its answer: at the start, at work, in a rebalance."""
    cluster, proxy = proxied
    setup = Setup(cluster.brokers[0].address(), settings={"SESSION_TIMEOUT": "6s"})
    setup.create()
    # Of these two, one is asked before there is a worker, and the other only where something is left open.
    kinds = set(APIS.values()) - {"DescribeConfigs", "DescribeGroups"}

    def lose(names: set[str]) -> None:
        proxy.requests.update(dict.fromkeys(names, losses))
        proxy.answers.update(dict.fromkeys(names, losses))

    def lost(*names: str) -> bool:
        return not any((proxy.requests + proxy.answers)[name] for name in names)

    env = {"BROKERS": f"127.0.0.1:{proxy.port}"}
    with producing(setup.brokers, setup.calls, 2_000, seed, seconds=10) as sending:
        lose(kinds - FIRST)
        with Worker(setup, tmp_path / "log", env=env) as worker:
            wait_for("a commit", setup.committed)
            lose(kinds)
            wait_for("what is at work", lambda: lost("Produce", "Fetch", "AddPartitionsToTxn", "EndTxn"), 90)
            with Worker(setup, tmp_path / "other", env=env) as other:
                wait_for("a rebalance", lambda: other.assignments() and other.assignments()[-1], 90)
                assert other.terminate() == 0, other.said()[-3000:]
            wait_until_done(setup, sending, timeout=90)
            finish(worker, setup)
    assert proxy.lost.keys() >= kinds - {"ListOffsets", "Heartbeat", "LeaveGroup"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a filesystem of its own, which is soon full."""
    disk = tmp_path / "small"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a filesystem of limited size takes the right to mount one")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _fill(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"0" * 4096)


def test_the_disk_of_the_broker_is_full(small_disk: Path, tmp_path: Path, seed: int) -> None:
    """The broker shuts down then, as Kafka does; with room and a start the worker goes on."""
    with ExitStack() as running:
        cluster = Cluster(small_disk / "kafka")
        running.callback(cluster.kill)
        cluster.start()
        setup = Setup(cluster.bootstrap())
        setup.create()
        (broker,) = cluster.brokers
        with Worker(setup, tmp_path / "log") as worker:
            produce_calls(setup.brokers, setup.calls, 500, seed)
            wait_until_done(setup)
            ballast = small_disk / "ballast"
            _fill(ballast)
            with pytest.raises(AssertionError):  # there is no room for the calls either
                produce(
                    setup.brokers, setup.calls, [Record(b"{}" * 500, b"x")] * 5_000,
                    patience=5, **{"message.timeout.ms": 4_000},
                )  # fmt: skip
            wait_for("it says so", lambda: "waiting for the brokers" in worker.said(), 30)
            ballast.unlink()
            broker.kill()
            broker.start()
            produce_calls(setup.brokers, setup.calls, 500, seed + 1)
            wait_until_done(setup)
            finish(worker, setup)


@pytest.mark.parametrize(
    "busy", [pytest.param(True, marks=pytest.mark.slow, id="busy"), pytest.param(False, id="idle")]
)
def test_all_brokers_gone_for_long_end_the_worker_with_exit_code_1(
    own_broker: OwnBroker, tmp_path: Path, seed: int, busy: bool
) -> None:
    cluster = own_broker()
    setup = Setup(cluster.bootstrap())
    setup.create()
    with Worker(setup, tmp_path / "log", before=config(lost_after=4_000)) as worker:
        produce_calls(setup.brokers, setup.calls, 200, seed)
        wait_until_done(setup)
        if busy:
            produce_calls(setup.brokers, setup.calls, 2_000, seed)
        cluster.brokers[0].kill()
        begun = time.monotonic()
        assert worker.ends(40) == 1
        assert time.monotonic() - begun < 35, "4 s to wait and 25 s to stop at most"
        # After it only what the log had held back.
        last = [line for line in worker.said().splitlines() if "held back within" not in line][-1]
        assert "the brokers are gone" in last, worker.said()[-2000:]
        assert f": {cluster.bootstrap()}: Connection refused" in last


def test_sigterm_while_the_brokers_are_away_ends_in_time(
    own_broker: OwnBroker, tmp_path: Path, seed: int
) -> None:
    cluster = own_broker()
    setup = Setup(cluster.bootstrap(), settings={"SESSION_TIMEOUT": "3s"})
    setup.create()
    shorter = "import streams.worker.worker; streams.worker.worker.STOP_SECONDS = 5"
    with Worker(setup, tmp_path / "log", before=shorter) as worker:
        produce_calls(setup.brokers, setup.calls, 200, seed)
        wait_until_done(setup)
        produce_calls(setup.brokers, setup.calls, 2_000, seed)
        cluster.brokers[0].kill()
        time.sleep(1)
        worker.signal(SIGTERM)
        assert worker.ends(10) in (0, 1)
    cluster.brokers[0].start()
    with Worker(setup, tmp_path / "log") as worker:
        wait_until_done(setup)
        finish(worker, setup)
