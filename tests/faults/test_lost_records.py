"""What happens to the log, the group and the changelog between two workers (for losses under one: test_losses)."""

import time
from pathlib import Path
from signal import SIGKILL

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from support.inject import signal_at
from support.kafka import Record, create_topics, delete_records, read_topic
from support.load import produce_calls
from support.worker import (
    Setup,
    Worker,
    check_exactly_once,
    fold,
    run_until_caught_up,
    wait_for,
)

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


@pytest.fixture
def setup(kafka: str, tmp_path: Path, seed: int) -> Setup:
    """Of one partition, with calls that a worker has done before it stopped."""
    setup = Setup(kafka, partitions=1)
    setup.create()
    produce_calls(kafka, setup.calls, 200, seed)
    run_until_caught_up(setup, tmp_path / "log")
    return setup


def move_group(setup: Setup, offset: int) -> None:
    """As an operator does with the group stopped."""
    consumer = Consumer({"bootstrap.servers": setup.brokers, "group.id": setup.group, "log_level": "0"})
    try:
        consumer.commit(offsets=[TopicPartition(setup.calls, 0, offset)], asynchronous=False)
    finally:
        consumer.close()


def check_without(log: list[Record], setup: Setup, skipped: range) -> None:
    """The outputs are those of a log in which these offsets never were."""
    expected = fold(setup, [record for record in log if record.offset not in skipped])
    completed = read_topic(setup.brokers, setup.topic("completed"))
    assert [(r.partition, r.key, r.value, r.timestamp) for r in completed] == expected.completed
    dead = read_topic(setup.brokers, setup.topic("dead"))
    assert [(r.key, r.value, tuple(r.headers)) for r in dead] == [
        (key, value, headers) for _, key, value, headers in expected.dead
    ]
    assert {r.key: r.value for r in read_topic(setup.brokers, setup.topic("kpis"))} == expected.kpis


def test_a_group_moved_forward_on_purpose_skips_what_lies_between(
    setup: Setup, tmp_path: Path, seed: int
) -> None:
    done = setup.committed()
    produce_calls(setup.brokers, setup.calls, 200, seed + 1)
    move_group(setup, done + 50)
    with Worker(setup, tmp_path / "log", "--until-caught-up") as worker:
        worker.finish(20)
        assert (
            f"{setup.calls} partition 0: the group was moved from offset {done} to {done + 50}"
            in worker.said()
        )
    check_without(read_topic(setup.brokers, setup.calls), setup, range(done, done + 50))


def test_after_a_loss_the_worker_stops_until_the_group_is_moved_as_it_says(
    setup: Setup, tmp_path: Path, seed: int
) -> None:
    done = setup.committed()
    produce_calls(setup.brokers, setup.calls, 200, seed + 1)
    log = read_topic(setup.brokers, setup.calls)
    delete_records(setup.brokers, setup.calls, 0, done + 7)
    for _ in range(2):  # the first worker has not moved anything
        with Worker(setup, tmp_path / "log") as worker:
            assert worker.ends(20) == 1
            last = worker.said().splitlines()[-1]
            assert f"{setup.calls} partition 0" in last
            assert "7 records were removed before they were read" in last
            assert "move the group to an offset that exists" in last
        assert setup.committed() == done
    move_group(setup, done + 7)
    run_until_caught_up(setup, tmp_path / "log", 20)
    check_without(log, setup, range(done, done + 7))


@pytest.mark.parametrize("calls", [10, 400], ids=["shorter", "longer"])
def test_a_topic_recreated_between_two_workers_stops_the_next(
    setup: Setup, tmp_path: Path, seed: int, calls: int
) -> None:
    """The longer one holds the offset of the state, with a record of something else at it."""
    before = {kind: read_topic(setup.brokers, setup.topic(kind)) for kind in ("completed", "kpis", "dead")}
    admin = AdminClient({"bootstrap.servers": setup.brokers, "log_level": "0"})
    admin.delete_topics([setup.calls])[setup.calls].result()
    wait_for("it is gone", lambda: setup.calls not in admin.list_topics(timeout=10).topics, 20)
    create_topics(setup.brokers, setup.calls, partitions=1)
    produce_calls(setup.brokers, setup.calls, calls, seed + 1)
    with Worker(setup, tmp_path / "log") as worker:
        assert worker.ends(20) == 1
        last = worker.said().splitlines()[-1]
        assert f"the topic {setup.calls} was deleted and created again" in last
        assert "use another TELEFONIE_APP_ID" in last
    assert {kind: read_topic(setup.brokers, setup.topic(kind)) for kind in before} == before


def test_the_open_transaction_of_a_dead_worker_does_not_hold_up_the_next(
    setup: Setup, tmp_path: Path, seed: int
) -> None:
    """By itself it would end after 30 s; the next owner ends it."""
    setup.settings = {"INSTANCE_ID": "one"}  # or the group would wait for the dead one
    produce_calls(setup.brokers, setup.calls, 200, seed + 1)
    kill = signal_at("aiokafka:AIOKafkaProducer.commit_transaction", SIGKILL)
    with Worker(setup, tmp_path / "log", before=kill) as worker:
        assert worker.ends(20) == -SIGKILL
    changelog = f"{setup.group}-calls-changelog"
    written = read_topic(setup.brokers, changelog, read_committed=False)
    assert len(read_topic(setup.brokers, changelog)) < len(written), "it is open"
    begun = time.monotonic()
    run_until_caught_up(setup, tmp_path / "log", 20)
    assert time.monotonic() - begun < 15
    check_exactly_once(setup)
