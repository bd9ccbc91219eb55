"""The log no longer holds what comes next: the worker stops and says what was lost, it never jumps.

Plain Faust is known to skip or to hang where its "persisted offset is higher than the highwater" of a topic.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from support.kafka import create_topics
from support.load import produce_calls
from support.worker import Setup, Worker, wait_for, wait_until_done

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.fixture
def setup(kafka: str) -> Setup:
    """Of one partition."""
    setup = Setup(kafka, partitions=1)
    setup.create()
    return setup


@contextmanager
def at_work(setup: Setup, log: Path, seed: int) -> Iterator[Worker]:
    with Worker(setup, log) as worker:
        produce_calls(setup.brokers, setup.calls, 200, seed)
        wait_until_done(setup)
        yield worker


@pytest.fixture
def admin(kafka: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka, "log_level": "0"})


def delete_records(admin: AdminClient, setup: Setup, before: int) -> None:
    for future in admin.delete_records([TopicPartition(setup.calls, 0, before)]).values():
        future.result()


def check_stopped(worker: Worker, *words: str) -> None:
    """It ends, and its last line names the topic and says this."""
    assert worker.ends(40) == 1
    last = worker.said().splitlines()[-1]
    assert all(word in last for word in (".calls", *words)), worker.said()[-3000:]


def test_records_removed_while_no_worker_ran(
    setup: Setup, admin: AdminClient, tmp_path: Path, seed: int
) -> None:
    with at_work(setup, tmp_path / "log", seed) as worker:
        assert worker.terminate() == 0
    done = setup.committed()
    produce_calls(setup.brokers, setup.calls, 200, seed + 1)
    delete_records(admin, setup, done + 7)
    with Worker(setup, tmp_path / "log") as worker:
        check_stopped(worker, "7 records were removed before they were read", f"{done + 7}")
    assert setup.committed() == done


def test_records_removed_under_a_worker_that_had_not_read_them(
    setup: Setup, admin: AdminClient, tmp_path: Path, seed: int
) -> None:
    with at_work(setup, tmp_path / "log", seed) as worker:
        done = setup.committed()
        worker.signal(SIGSTOP)
        time.sleep(1)  # the broker answers the fetch that is on its way
        produce_calls(setup.brokers, setup.calls, 200, seed + 1)
        delete_records(admin, setup, done + 600)
        worker.signal(SIGCONT)
        check_stopped(worker, "removed before they were read")
    assert setup.committed() < done + 600


@pytest.mark.parametrize("calls", [10, 1_000], ids=["shorter", "longer"])
def test_the_topic_is_recreated_under_a_worker(
    setup: Setup, admin: AdminClient, tmp_path: Path, seed: int, calls: int
) -> None:
    with at_work(setup, tmp_path / "log", seed) as worker:
        admin.delete_topics([setup.calls])[setup.calls].result()
        wait_for("it is gone", lambda: setup.calls not in admin.list_topics(timeout=10).topics)
        create_topics(setup.brokers, setup.calls, partitions=1)
        produce_calls(setup.brokers, setup.calls, calls, seed + 1)
        assert worker.ends(40) == 1
        assert re.search("created again|not exist any more|removed before", worker.said().splitlines()[-1])
    with Worker(setup, tmp_path / "log") as worker:
        check_stopped(worker, "created again")  # and the next one does not get over it either
