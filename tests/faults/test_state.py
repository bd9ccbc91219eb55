"""State from a changelog in every condition, and time on quiet partitions.

Plain Faust is known for recoveries that hang on an aborted transaction or on an empty or compacted changelog.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from click.testing import CliRunner
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
)
from support.inject import QUICK_TICKS, config
from support.java import run_tool
from support.kafka import Record, create_topics, produce, read_topic
from support.load import produce_calls, simulated
from support.worker import (
    Setup,
    Worker,
    check_exactly_once,
    run_until_caught_up,
    wait_for,
    wait_until_done,
)

from streams.cli import main
from streams.embedded import Cluster
from streams.engine.processor import POSITION

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.fixture
def setup(kafka: str) -> Setup:
    """Of two partitions."""
    setup = Setup(kafka, partitions=2)
    setup.create()
    return setup


def changelog(setup: Setup) -> str:
    return f"{setup.group}-calls-changelog"


def transactional(setup: Setup, number: int) -> Producer:
    """In a transaction of its own, a few rows at the end of a partition of the changelog."""
    producer = Producer(
        {
            "bootstrap.servers": setup.brokers,
            "transactional.id": f"stranger-{uuid4().hex}",
            "transaction.timeout.ms": 60_000,
            "log_level": "0",
        }
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    for n in range(3):
        producer.produce(changelog(setup), b"never", f"stranger-{n}", partition=number)
    producer.flush(20)
    return producer


def test_after_the_changelog_was_compacted(
    own_broker: Callable[..., Cluster], tmp_path: Path, seed: int
) -> None:
    brokers = own_broker(settings={"log.cleaner.backoff.ms": "200"}).bootstrap()
    setup = Setup(brokers, partitions=1)
    setup.create()
    often = {"segment.ms": "500", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "500"}
    create_topics(brokers, changelog(setup), config={"cleanup.policy": "compact", **often})
    log, records = tmp_path / "log", simulated(600, seed)
    for start in range(0, 1_600, 400):
        produce(brokers, setup.calls, records[start : start + 400])
        run_until_caught_up(
            setup, log
        )  # two seconds: the next one begins a new segment, others may be cleaned

    def positions() -> int:
        return sum(row.key == POSITION for row in read_topic(brokers, changelog(setup)))

    wait_for("the cleaner has been there", lambda: positions() <= 2, every=0.5)
    produce(brokers, setup.calls, records[1_600:])
    run_until_caught_up(setup, log)
    check_exactly_once(setup)


def test_after_an_aborted_transaction_at_the_end_of_the_changelog(
    setup: Setup, tmp_path: Path, seed: int
) -> None:
    produce_calls(setup.brokers, setup.calls, 300, seed)
    run_until_caught_up(setup, tmp_path / "log")
    for number in (0, 1):
        transactional(setup, number).abort_transaction(20)
    produce_calls(setup.brokers, setup.calls, 300, seed + 1)
    begun = time.monotonic()
    run_until_caught_up(setup, tmp_path / "log")
    assert time.monotonic() - begun < 15
    check_exactly_once(setup)


def test_an_open_transaction_of_a_stranger_in_the_changelog_is_waited_for(
    setup: Setup, tmp_path: Path, seed: int
) -> None:
    """What lies behind its beginning cannot be read yet: without it the state would be an old one."""
    produce_calls(setup.brokers, setup.calls, 300, seed)
    run_until_caught_up(setup, tmp_path / "log")
    with Worker(setup, tmp_path / "log") as worker:
        wait_for("work", worker.assignments)
        stranger = transactional(setup, 0)
        produce_calls(setup.brokers, setup.calls, 200, seed + 1)
        wait_until_done(setup)
        assert worker.terminate() == 0
    with Worker(setup, tmp_path / "log") as worker:
        wait_for("it says so", lambda: "waiting for another producer's transaction" in worker.said())
        assert worker.get("/ready") == 503
        assert not worker.assignments()
        stranger.abort_transaction(20)
        produce_calls(setup.brokers, setup.calls, 200, seed + 2)
        wait_until_done(setup)
        assert worker.terminate() == 0
    check_exactly_once(setup)


def test_a_new_group_begins_with_an_empty_changelog(setup: Setup, tmp_path: Path, seed: int) -> None:
    create_topics(setup.brokers, changelog(setup), partitions=2, config={"cleanup.policy": "compact"})
    produce_calls(setup.brokers, setup.calls, 300, seed)
    run_until_caught_up(setup, tmp_path / "log")
    check_exactly_once(setup)


def test_a_changelog_that_lost_its_state_stops_the_worker_until_the_group_goes_on_without(
    setup: Setup, tmp_path: Path, seed: int
) -> None:
    log = tmp_path / "log"
    produce_calls(setup.brokers, setup.calls, 300, seed)
    run_until_caught_up(setup, log)
    before = len(read_topic(setup.brokers, setup.topic("completed")))
    admin = AdminClient({"bootstrap.servers": setup.brokers, "log_level": "0"})
    admin.delete_topics([changelog(setup)])[changelog(setup)].result()
    wait_for("it is gone", lambda: changelog(setup) not in admin.list_topics(timeout=10).topics)
    produce_calls(setup.brokers, setup.calls, 300, seed + 1)
    with Worker(setup, log) as worker:
        assert worker.ends(30) == 1
        last = worker.said().splitlines()[-1]
        assert f"group {setup.group} has committed offset" in last
        assert f"of {changelog(setup)} holds none" in last
    assert len(read_topic(setup.brokers, setup.topic("completed"))) == before
    asked = CliRunner().invoke(main, ["status"], env=setup.env())
    assert (asked.exit_code, asked.stderr.splitlines()) == (1, [last])
    [command] = re.findall("`(kafka-consumer-groups.sh [^`]*)`", last)
    assert setup.calls in run_tool(command, setup.brokers)
    run_until_caught_up(setup, log)
    assert log.read_text().count("but there is no state") == 2
    assert len(read_topic(setup.brokers, setup.topic("completed"))) >= before + 300


def test_state_of_another_version_is_refused(setup: Setup, tmp_path: Path, seed: int) -> None:
    produce_calls(setup.brokers, setup.calls, 100, seed)
    run_until_caught_up(setup, tmp_path / "log")
    newest = msgspec.msgpack.encode([1, b"", 99])
    produce(setup.brokers, changelog(setup), [Record(newest, b"\xff\xffposition", partition=0)])
    with Worker(setup, tmp_path / "log") as worker:
        assert worker.ends(30) == 1
        last = worker.said().splitlines()[-1]
        assert "cannot be taken over: its positions are of version 99, this release knows 1" in last


def test_a_group_moved_back_by_hand_applies_nothing_twice(setup: Setup, tmp_path: Path, seed: int) -> None:
    """An offset behind the state, as after a restore of the offsets topic from a backup."""
    from confluent_kafka import Consumer, TopicPartition

    produce_calls(setup.brokers, setup.calls, 300, seed)
    run_until_caught_up(setup, tmp_path / "log")
    consumer = Consumer({"bootstrap.servers": setup.brokers, "group.id": setup.group, "log_level": "0"})
    consumer.commit(offsets=[TopicPartition(setup.calls, n, 5) for n in (0, 1)], asynchronous=False)
    consumer.close()
    produce_calls(setup.brokers, setup.calls, 300, seed + 1)
    run_until_caught_up(setup, tmp_path / "log")
    assert "the group was moved back to offset 5" in (tmp_path / "log").read_text()
    check_exactly_once(setup)


@pytest.mark.parametrize(
    ("repartition", "kills"), [pytest.param("false", 0, marks=pytest.mark.slow), ("false", 3), ("true", 1)]
)
def test_a_quiet_partition_times_out_its_calls_and_closes_its_windows(
    kafka: str, tmp_path: Path, repartition: str, kills: int
) -> None:
    """The idle clock: once each, also when the worker is killed again and again while time moves on."""
    settings = {
        "CALL_TIMEOUT": "5s",
        "KPI_WINDOW": "1s",
        "INSTANCE_ID": "a",
        "REPARTITION": repartition,
    }
    setup = Setup(kafka, partitions=2, settings=settings)
    setup.create()
    now = int(time.time() * 1000)
    call = {"status": "queued", "direction": "inbound", "from": "+12125550123", "to": "+14165550199"}
    ids = [str(uuid4()) for _ in range(40)]
    produce(
        kafka,
        setup.calls,
        [
            Record(msgspec.json.encode(call | {"id": each}), each.encode(), now - 4_000 + 200 * n)
            for n, each in enumerate(ids)
        ],
    )
    quick = config(idle_after=1_000) + QUICK_TICKS
    for _ in range(kills):
        with Worker(setup, tmp_path / "log", before=quick) as worker:
            wait_for("work", lambda worker=worker: worker.assignments())
            time.sleep(1.5)
            worker.kill()
    with Worker(setup, tmp_path / "log", before=quick) as worker:
        wait_for("work", worker.assignments)  # those before it may have done everything
        wait_for(
            "all have timed out",
            lambda: len(read_topic(kafka, setup.topic("completed"))) >= len(ids),
            timeout=40,
            every=0.5,
        )
        wait_for("windows close", lambda: _timed_out(setup) == len(ids), timeout=20, every=0.5)
        assert worker.terminate() == 0
    completed = [msgspec.json.decode(r.value) for r in read_topic(kafka, setup.topic("completed"))]
    assert sorted(each["id"] for each in completed) == sorted(ids), "once each"
    assert {each["closed_by"] for each in completed} == {"timeout"}


def _timed_out(setup: Setup) -> int:
    last = {r.key: r.value for r in read_topic(setup.brokers, setup.topic("kpis"))}
    return sum(msgspec.json.decode(value)["timed_out"] for value in last.values())
