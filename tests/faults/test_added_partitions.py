"""Partitions that are added to the calls topic: what runs goes on; they are read once their state has a place."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.kafka import committed_offsets, create_topics, grow, produce
from support.load import produce_calls, producing, simulated
from support.worker import (
    Setup,
    Worker,
    check_exactly_once,
    check_repartitioned,
    wait_for,
    wait_until_done,
)

from streams.cli import main

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

ATTENTIVE = """
import streams.engine.application as application
import streams.engine.config as config
application.REVIEW_SECONDS = 0.5
_consumer = config.Config.consumer
config.Config.consumer = lambda self: _consumer(self) | {"metadata_max_age_ms": 2_000}
"""
"""A worker that looks at the brokers' topics every two seconds, not every minute."""


def create(setup: Setup) -> str:
    """`telefonie topics create`."""
    done = CliRunner().invoke(main, ["topics", "create"], env=setup.env())
    assert done.exit_code == 0, done.output
    return done.output


def said(workers: Sequence[Worker], text: str) -> bool:
    return any(text in worker.said() for worker in workers)


@pytest.mark.parametrize("repartition", ["false", "true"])
def test_partitions_added_under_traffic_wait_and_are_then_read_without_a_restart(
    kafka: str, tmp_path: Path, seed: int, repartition: str
) -> None:
    setup = Setup(kafka, settings={"REPARTITION": repartition})
    setup.create()
    with ExitStack() as running, producing(kafka, setup.calls, 2_000, seed, seconds=8) as sending:
        workers = [
            running.enter_context(Worker(setup, tmp_path / f"log-{n}", before=ATTENTIVE)) for n in range(2)
        ]
        wait_for("both work", lambda: all(worker.assignments() for worker in workers))
        grow(kafka, setup.calls, 6)
        for number in (4, 5):
            wait_for(
                f"{number} waits", lambda n=number: said(workers, f"{setup.calls} partition {n} is not read")
            )
        sending.result(60)
        old = {number: ends for number, ends in _ends(setup).items() if number < 4}
        wait_for("what runs goes on", lambda: old.items() <= _offsets(setup).items(), 60, 0.2)
        more = simulated(200, seed + 1)
        produce(kafka, setup.calls, [replace(each, partition=n % 6) for n, each in enumerate(more)])
        assert not {4, 5} & _offsets(setup).keys()
        (holder, *_) = [worker for worker in workers if "partition 4 is not read" in worker.said()]
        assert holder.page("/ready").startswith("ok\n")
        assert f"{setup.calls} partition 4 is not read: " in holder.page("/ready")
        create(setup)
        wait_for("all is read", lambda: _offsets(setup) == _ends(setup), 60, 0.2)
        wait_until_done(setup)
        assert "is not read" not in holder.page("/ready")
        for worker in workers:
            assert worker.terminate() == 0, worker.said()[-3000:]
    if repartition == "true":
        check_repartitioned(setup)
    else:
        setup.partitions = 6
    check_exactly_once(setup)


def _offsets(setup: Setup) -> dict[int, int]:
    return committed_offsets(setup.brokers, setup.group, setup.calls)


def _ends(setup: Setup) -> dict[int, int]:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": setup.brokers, "group.id": "tests.ends", "log_level": "0"})
    try:
        numbers = consumer.list_topics(setup.calls, timeout=10).topics[setup.calls].partitions
        return {n: consumer.get_watermark_offsets(TopicPartition(setup.calls, n), 10)[1] for n in numbers}
    finally:
        consumer.close()


def test_a_worker_starts_beside_a_changelog_that_is_too_short_and_reads_what_it_can(
    kafka: str, tmp_path: Path, seed: int
) -> None:
    setup = Setup(kafka, partitions=2)
    setup.create()
    create_topics(kafka, f"{setup.group}-calls-changelog", partitions=1, config={"cleanup.policy": "compact"})
    produce_calls(kafka, setup.calls, 200, seed)
    with Worker(setup, tmp_path / "log", before=ATTENTIVE) as worker:
        wait_for("the first is read", lambda: _offsets(setup) == {0: _ends(setup)[0]}, 30, 0.2)
        wanting = f"{setup.group}-calls-changelog has no partition 1 for its state"
        wait_for("the other one waits", lambda: wanting in worker.said())
        create(setup)
        wait_until_done(setup)
        assert worker.terminate() == 0
    check_exactly_once(setup)
