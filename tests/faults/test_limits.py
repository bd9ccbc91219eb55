"""Topics that take less than is usual, and less while workers run: everything is written all the same."""

import time
from pathlib import Path
from random import Random

import pytest
from support.kafka import configure, produce, read_topic
from support.load import simulated
from support.worker import OUTPUTS, Setup, Worker, check_exactly_once, run_until_caught_up, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.mark.parametrize(
    ("guarantee", "repartition"),
    [("exactly_once", "false"), ("at_least_once", "false"), ("exactly_once", "true")],
)
def test_a_backlog_is_written_to_topics_that_take_little_and_less_after_each_kill(
    kafka: str, tmp_path: Path, seed: int, chance: Random, guarantee: str, repartition: str
) -> None:
    setup = Setup(kafka, partitions=1, settings={"GUARANTEE": guarantee, "REPARTITION": repartition})
    setup.create()
    setup.create_changelog()
    written = [*map(setup.topic, OUTPUTS), f"{setup.group}-calls-changelog"]
    limit = 262_144

    def lower() -> None:
        for topic in written:
            configure(kafka, topic, {"max.message.bytes": str(limit)})

    lower()
    produce(kafka, setup.calls, simulated(8_000, seed))
    for _ in range(3):
        with Worker(setup, tmp_path / "log", env={"INSTANCE_ID": "one"}) as worker:
            wait_for("partitions", worker.assignments)
            limit -= 30_000
            lower()  # also what is being written at this moment
            time.sleep(chance.uniform(0, 1))
            assert worker.running, worker.said()[-2000:]
            worker.kill()
    run_until_caught_up(setup, tmp_path / "log")
    check_exactly_once(setup)
    assert len(read_topic(kafka, setup.topic("completed"))) > 5_000
