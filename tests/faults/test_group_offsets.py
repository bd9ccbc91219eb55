"""What the group's offsets say to others: of every partition something, and of skipped records that they were."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from support.kafka import committed_offsets, delete_records, produce
from support.load import produce_calls, simulated
from support.worker import Setup, Worker, run_until_caught_up, wait_for, wait_until_done

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


def status(setup: Setup, *options: str) -> tuple[int, dict]:
    """The exit code, and the first partition."""
    command = [sys.executable, "-m", "streams", "status", "--json", *options]
    done = subprocess.run(command, env=setup.env(), capture_output=True, text=True, timeout=60)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["partitions"][0]


def read_as_the_group(setup: Setup, count: int) -> None:
    """As somebody who has chosen our group's name for a consumer of his own."""
    consumer = Consumer(
        {
            "bootstrap.servers": setup.brokers,
            "group.id": setup.group,
            "enable.auto.commit": "false",
            "log_level": "0",
        }
    )
    consumer.subscribe([setup.calls])
    try:
        left = count
        while left:
            messages = consumer.consume(left, 30)
            assert messages
            left -= len(messages)
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()


def skipped(worker: Worker, setup: Setup) -> float:
    labels = re.escape(f'{{partition="0",topic="{setup.calls}"}}')
    found = re.search(
        rf"^telefonie_records_skipped_total{labels} (\S+)$", worker.page("/metrics"), re.MULTILINE
    )
    return float(found[1]) if found else -1.0


def test_each_partition_has_an_offset_also_without_a_record(kafka: str, tmp_path: Path, seed: int) -> None:
    setup = Setup(kafka, partitions=3)
    setup.create()
    records = simulated(20, seed)
    for number in (0, 1):
        produce(kafka, setup.calls, [replace(record, partition=number) for record in records])
    delete_records(kafka, setup.calls, 1, len(records))
    with Worker(setup, tmp_path / "log", env={"COMMIT_INTERVAL": "1h"}) as worker:
        wait_for("offsets", lambda: set(committed_offsets(kafka, setup.group, setup.calls)) == {0, 1, 2})
        assert worker.terminate() == 0
    assert committed_offsets(kafka, setup.group, setup.calls) == {0: len(records), 1: len(records), 2: 0}


def test_records_that_another_consumer_took_from_the_group_are_counted_until_they_are_accepted(
    kafka: str, tmp_path: Path, seed: int
) -> None:
    setup = Setup(kafka, partitions=1)
    setup.create()
    log = tmp_path / "log"
    produce_calls(kafka, setup.calls, 50, seed)
    run_until_caught_up(setup, log)
    assert status(setup)[0] == 0
    produce_calls(kafka, setup.calls, 50, seed + 1)
    read_as_the_group(setup, 20)
    code, partition = status(setup)
    assert (code, partition["skipped"]) == (1, 20), "before a worker has noticed"
    with Worker(setup, log) as worker:
        wait_until_done(setup)
        wait_for("the metric", lambda: skipped(worker, setup) == 20)
        assert worker.terminate() == 0
    with Worker(setup, log) as worker:  # they are in the state
        wait_for("the metric", lambda: "HTTP is at" in worker.said() and skipped(worker, setup) == 20)
        code, partition = status(setup)
        assert (code, partition["skipped"]) == (1, 20)
        code, partition = status(setup, "--accept-skipped")
        assert (code, partition["skipped"]) == (0, 0)
        wait_for("the worker takes it over", lambda: skipped(worker, setup) == 0, 20)
        assert "20 skipped records are accepted" in worker.said()
        assert worker.terminate() == 0
    _forget_acceptances(setup)
    assert status(setup) == (0, partition | {"last_commit": status(setup)[1]["last_commit"]}), (
        "it lasts in the state"
    )


def _forget_acceptances(setup: Setup) -> None:
    """As Kafka does with the offsets of a group after a week."""
    admin = AdminClient({"bootstrap.servers": setup.brokers, "log_level": "0"})
    name = f"{setup.group}-accepted"
    admin.delete_consumer_groups([name])[name].result(20)


def test_what_is_accepted_before_a_worker_has_noticed_is_accepted(
    kafka: str, tmp_path: Path, seed: int
) -> None:
    setup = Setup(kafka, partitions=1)
    setup.create()
    log = tmp_path / "log"
    produce_calls(kafka, setup.calls, 50, seed)
    run_until_caught_up(setup, log)
    produce_calls(kafka, setup.calls, 50, seed + 1)
    read_as_the_group(setup, 20)
    assert status(setup, "--accept-skipped")[0] == 0
    with Worker(setup, log) as worker:
        wait_for("the worker takes it over", lambda: "20 skipped records are accepted" in worker.said(), 30)
        assert skipped(worker, setup) == 0
        assert worker.terminate() == 0
    more = produce_calls(kafka, setup.calls, 10, seed + 2)
    read_as_the_group(setup, more)
    assert status(setup)[1]["skipped"] == more, "what is skipped later is not accepted with it"


RUNS = int(os.environ.get("TEST_RUNS", "3"))


@pytest.mark.timeout(60 + 30 * RUNS)
def test_who_has_caught_up_has_said_so_to_every_client(kafka: str, tmp_path: Path, seed: int) -> None:
    """Before, one run in four ended before other clients saw its offsets."""
    setup = Setup(kafka, partitions=2)
    setup.create()
    committed_offsets(kafka, setup.group, setup.calls)  # with a new broker this takes a while
    for run in range(RUNS):
        produce_calls(kafka, setup.calls, 20, seed + run)
        consumer = Consumer({"bootstrap.servers": kafka, "group.id": setup.group, "log_level": "0"})
        places = [TopicPartition(setup.calls, number) for number in range(2)]
        ends = {place.partition: consumer.get_watermark_offsets(place, 10)[1] for place in places}
        consumer.committed(places, timeout=10)  # so that it is connected to the coordinator
        run_until_caught_up(setup, tmp_path / "log")
        found = {place.partition: place.offset for place in consumer.committed(places, timeout=10)}
        consumer.close()
        assert found == ends
