"""Brokers that are not the newest: the guarantees hold, and what such a broker does not know is left out and said.

`TEST_KAFKA=3.5.2` runs any other test on that release.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner
from support.kafka import grow
from support.load import producing
from support.releases import OLDEST, OTHERS, jars_of
from support.worker import (
    Setup,
    Worker,
    check_exactly_once,
    check_repartitioned,
    run_until_caught_up,
    wait_for,
)

from streams.cli import main
from streams.embedded import Cluster, jars
from streams.kafka.errors.meanings import OLDEST_KAFKA

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]

OwnBroker = Callable[..., Cluster]


@pytest.fixture(params=OTHERS)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def topics(setup: Setup, *command: str) -> str:
    result = CliRunner().invoke(main, ["topics", *command], env=setup.env())
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_oldest_release_is_the_one_that_is_named() -> None:
    assert OLDEST.startswith(f"{OLDEST_KAFKA}.")
    for version in OTHERS:
        listed = {jar.artifact: jar.version for jar in jars.listed(jars_of(version))}
        assert listed["kafka_2.13"] == listed["kafka-clients"] == version


@pytest.mark.parametrize("repartition", ["false", "true"])
def test_kills_lose_nothing_and_topics_are_made_grown_and_changed(
    own_broker: OwnBroker, tmp_path: Path, seed: int, chance: Random, release: str, repartition: str
) -> None:
    cluster = own_broker(release=jars_of(release))
    settings = {"INSTANCE_ID": "one", "REPARTITION": repartition, "PARTITIONS": "3", "SESSION_TIMEOUT": "3s"}
    setup = Setup(cluster.bootstrap(), partitions=3, settings=settings)
    made = topics(setup, "create")
    assert ("was created without message.timestamp.after.max.ms" in made) == (release == OLDEST)
    assert "warning" not in topics(setup, "check")
    log = tmp_path / "log"
    with producing(setup.brokers, setup.calls, 3_000, seed, seconds=10, scatter=repartition == "true"):
        for _ in range(3):
            with Worker(setup, log) as worker:
                wait_for("an assignment", worker.assignments)
                time.sleep(chance.uniform(0, 2))
                worker.kill()
        cluster.brokers[0].kill()
        cluster.brokers[0].start()
    run_until_caught_up(setup, log)
    if repartition == "true":
        check_repartitioned(setup)
    check_exactly_once(setup)
    grow(setup.brokers, setup.calls, 5)
    assert topics(setup, "create").count("has 5 partitions now, 2 of them new") >= 1
    stricter = Setup(setup.brokers, settings={**settings, "INPUT_RETENTION": "30d"}, name=setup.name)
    assert f"--entity-name {setup.calls} --add-config retention.ms=2592000000" in topics(
        stricter, "alter", "--dry-run"
    )
    assert "changed" in topics(stricter, "alter")
    assert "warning" not in topics(stricter, "check")
