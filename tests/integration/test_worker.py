"""The worker as its users run it: real processes on a real Kafka."""

import json
import os
import random
import time
from pathlib import Path

import pytest
from support.kafka import delete_records
from support.load import produce_calls, producing
from support.worker import (
    Setup,
    Worker,
    check_at_least_once,
    check_exactly_once,
    run_until_caught_up,
    wait_for,
)

pytestmark = pytest.mark.kafka


def test_what_lies_in_the_topic_is_processed_and_a_second_run_goes_on(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka)
    setup.create()
    sent = produce_calls(kafka, setup.calls, 500, seed=1)
    first = json.loads(run_until_caught_up(setup, tmp_path / "log"))
    assert first["read"] == sent == first["applied"] + sum(first["rejected"].values())
    sent = produce_calls(kafka, setup.calls, 300, seed=2)
    second = json.loads(run_until_caught_up(setup, tmp_path / "log"))
    assert second["read"] == sent
    check_exactly_once(setup)


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_a_sigkill_in_the_middle_of_50_000_events_loses_and_repeats_nothing(
    kafka: str, tmp_path: Path, guarantee: str
) -> None:
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 100_000))
    print("TEST_SEED =", seed)
    chance = random.Random(seed)
    setup = Setup(kafka, settings={"GUARANTEE": guarantee, "INSTANCE_ID": "one"})
    setup.create()
    log = tmp_path / "log"
    kills = 0
    with producing(kafka, setup.calls, 11_600, seed, seconds=6) as sending:
        while not sending.done():
            with Worker(setup, log) as worker:
                before = setup.committed()
                wait_for("a commit", lambda before=before: sending.done() or setup.committed() > before)
                time.sleep(chance.random() * 0.5)
                worker.kill()
                kills += not sending.done()
    assert sending.result() > 48_000
    assert kills >= 2, "the load was over before the worker could be killed twice"
    run_until_caught_up(setup, log)
    check_exactly_once(setup)
    check_at_least_once(setup)


def test_sigterm_commits_leaves_the_group_and_exits_0(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka)
    setup.create()
    with Worker(setup, tmp_path / "log", env={"COMMIT_INTERVAL": "1h"}) as worker:
        sent = produce_calls(kafka, setup.calls, 300, seed=3)
        wait_for("assignment", lambda: "are assigned" in (tmp_path / "log").read_text())
        time.sleep(1.5)
        assert worker.terminate() == 0
    assert setup.committed() == 0 or setup.committed() >= sent
    run_until_caught_up(setup, tmp_path / "log")
    check_exactly_once(setup)


def test_until_caught_up_ends_where_retention_has_left_nothing(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=1)
    setup.create()
    sent = produce_calls(kafka, setup.calls, 50, seed=4)
    delete_records(kafka, setup.calls, 0, sent)
    summary = json.loads(run_until_caught_up(setup, tmp_path / "log", timeout=30))
    assert summary["read"] == 0
