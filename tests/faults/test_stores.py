"""State on the local disk: killed at any moment, gone, broken, full; what is published is the same."""

import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from support.inject import slow
from support.load import produce_calls, producing
from support.worker import (
    Setup,
    Worker,
    check_exactly_once,
    check_repartitioned,
    run_until_caught_up,
    wait_for,
    wait_until_done,
)

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


@pytest.fixture
def setup(kafka: str, tmp_path: Path) -> Setup:
    """Calls are timed out and forgotten within a run."""
    disk = {"STORE": "rocksdb", "DATA_DIR": str(tmp_path / "data"), "INSTANCE_ID": "one"}
    setup = Setup(kafka, settings={**disk, "CALL_TIMEOUT": "30s", "CALL_RETENTION": "45s"})
    setup.create()
    return setup


def store(setup: Setup, partition: int = 0) -> Path:
    return Path(setup.settings["DATA_DIR"]) / "state" / setup.group / "one" / str(partition)


def rows_read(worker: Worker) -> int:
    """Rows of the changelog that the last restore took over."""
    return int(re.findall(r"restored partitions .* from (\d+) rows", worker.said())[-1])


@pytest.mark.parametrize(
    ("kills", "calls"),
    [(3, 3_000), pytest.param(25, 40_000, marks=(pytest.mark.slow, pytest.mark.timeout(600)))],
)
def test_sigkills_at_random_moments(
    setup: Setup, tmp_path: Path, seed: int, chance: Random, kills: int, calls: int
) -> None:
    with producing(setup.brokers, setup.calls, calls, seed, seconds=1.5 * kills):
        for _ in range(kills):
            with Worker(setup, tmp_path / "log") as worker:
                time.sleep(chance.uniform(1.5, 3.5))
                worker.kill()
    run_until_caught_up(setup, tmp_path / "log")
    check_exactly_once(setup)


def test_sigkills_while_records_go_through_the_internal_topic(
    setup: Setup, tmp_path: Path, seed: int, chance: Random
) -> None:
    setup = replace(setup, settings={**setup.settings, "REPARTITION": "true"})
    with producing(setup.brokers, setup.calls, 2_000, seed, seconds=4):
        for _ in range(2):
            with Worker(setup, tmp_path / "log") as worker:
                time.sleep(chance.uniform(2.0, 4.0))
                worker.kill()
    run_until_caught_up(setup, tmp_path / "log")
    check_repartitioned(setup)
    check_exactly_once(setup)


def test_a_recovery_that_is_broken_off_at_its_very_end_closes_its_stores(
    setup: Setup, tmp_path: Path, seed: int
) -> None:
    """The client that has read the changelog is just stopping, for the first time in this worker."""
    dynamic = {name: value for name, value in setup.settings.items() if name != "INSTANCE_ID"}
    setup = replace(setup, settings={**dynamic, "SESSION_TIMEOUT": "3s"})
    produce_calls(setup.brokers, setup.calls, 200, seed)
    with Worker(setup, tmp_path / "first", before=slow("aiokafka:AIOKafkaConsumer.stop", 8, call=1)) as first:
        wait_for("it starts", lambda: "HTTP is at" in first.said())
        time.sleep(2)
        with Worker(setup, tmp_path / "second") as second:
            wait_for("both work", lambda: first.assignments() and second.assignments())
            assert len(first.assignments()) == 1
            wait_until_done(setup)
            for worker in (first, second):
                assert worker.terminate() == 0, worker.said()[-3000:]
    check_exactly_once(setup)


def test_a_restart_reads_only_the_end_of_the_changelog_unless_a_store_is_gone_or_broken(
    setup: Setup, tmp_path: Path, seed: int
) -> None:
    produce_calls(setup.brokers, setup.calls, 5_000, seed)
    run_until_caught_up(setup, tmp_path / "log")
    with Worker(setup, tmp_path / "log", "--until-caught-up") as worker:
        worker.finish()
        assert rows_read(worker) == 0
    shutil.rmtree(store(setup, 0))
    for manifest in store(setup, 1).glob("MANIFEST*"):
        os.truncate(manifest, 20)
    produce_calls(setup.brokers, setup.calls, 500, seed + 1)
    with Worker(setup, tmp_path / "log", "--until-caught-up") as worker:
        worker.finish()
        assert rows_read(worker) > 1_000
        assert f"the store in {store(setup, 1)} is rebuilt from the changelog: Corruption" in worker.said()
        assert worker.said().count("is rebuilt") == 1
    check_exactly_once(setup)


def test_killed_between_a_commit_and_its_copy_on_disk(
    setup: Setup, tmp_path: Path, seed: int, chance: Random
) -> None:
    produce_calls(setup.brokers, setup.calls, 5_000, seed)
    killing = f"""
import os
from streams.engine.store import Store
def kill(self, stored, *args, cuts=[]):
    cuts.extend([stored] if stored else [])  # what is written before the first commit holds no calls
    if len(cuts) == {chance.randint(1, 4)}:
        os.kill(os.getpid(), 9)
    write(self, stored, *args)
write, Store.write = Store.write, kill
"""
    with Worker(setup, tmp_path / "log", before=killing) as worker:
        assert worker.ends(60) == -9
    with Worker(setup, tmp_path / "log", "--until-caught-up") as worker:
        worker.finish()
        assert rows_read(worker) > 0
    check_exactly_once(setup)


def test_a_disk_that_fails_ends_the_worker_with_a_line_and_the_next_one_goes_on(
    setup: Setup, tmp_path: Path, seed: int
) -> None:
    produce_calls(setup.brokers, setup.calls, 3_000, seed)
    failing = """
from streams.engine.store import Store
def fail(self, key, calls=[]):
    calls.append(key)
    if len(calls) > 2_000:
        raise self._failed(RuntimeError("IO error: input/output error"))
    return get(self, key)
get, Store.get = Store.get, fail
"""
    with Worker(setup, tmp_path / "log", "--until-caught-up", before=failing) as worker:
        assert worker.ends(60) == 1
        assert worker.said().strip().splitlines()[-1].startswith("error: the store in ")
    with Worker(setup, tmp_path / "log", "--until-caught-up") as worker:
        worker.finish()
        assert "is rebuilt from the changelog: it failed before" in worker.said()
    expected = check_exactly_once(setup)
    assert all(b"failed" not in dict(headers)["dead-reason"] for *_, headers in expected.dead)


@pytest.mark.slow
def test_a_partition_that_moves_away_and_comes_back(setup: Setup, tmp_path: Path, seed: int) -> None:
    with producing(setup.brokers, setup.calls, 3_000, seed, seconds=10) as sending:
        with Worker(setup, tmp_path / "log") as first:
            time.sleep(3)
            with Worker(setup, tmp_path / "log-2", env={"INSTANCE_ID": "two"}) as second:
                time.sleep(4)
                assert second.terminate() == 0
            wait_until_done(setup, sending)
            assert first.terminate() == 0
    check_exactly_once(setup)
