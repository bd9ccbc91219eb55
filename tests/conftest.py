"""A real Kafka for the tests, one in each of their processes: embedded, or a container with `TEST_BROKER=container`.

`TEST_KAFKA=3.5.2` takes an older release of the embedded one, see `support.releases`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from support.releases import chosen
from support.training import train

from streams.embedded import Cluster, layout

# How long an example takes says more about the machine than about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure() -> None:
    """Each process of the tests has ports of its own: what a stopped broker comes back to nobody else has taken."""
    mine, count = (os.environ.get(f"PYTEST_XDIST_WORKER{name}", "") for name in ("", "_COUNT"))
    if count:
        layout._PORTS = layout._PORTS[int(mine.removeprefix("gw")) :: int(count)]


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of the one broker that all tests of this process share; do not stop it."""
    if os.environ.get("TEST_BROKER", "embedded") == "container":
        yield from _container()
        return
    from support.kafka import PATIENT_CONTROLLER

    train()
    directory = tmp_path_factory.mktemp("kafka")
    with Cluster(directory, settings=PATIENT_CONTROLLER, release=chosen()) as cluster:
        yield cluster.bootstrap()


def _container() -> Iterator[str]:
    from docker.errors import DockerException
    from support.container import kafka_container
    from testcontainers.core.docker_client import DockerClient

    try:
        DockerClient()
    except DockerException as error:
        pytest.skip(f"TEST_BROKER=container, but no container engine answers: {error}")
    with kafka_container() as address:
        yield address


@pytest.fixture
def topic_name() -> str:
    """A topic name that no other test uses; append to it for further topics."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
def make_topic(kafka: str) -> Callable[..., str]:
    """`make_topic(partitions=1, config=None)` makes a new topic on the shared broker and returns its name."""
    from support.kafka import create_topics

    def make(partitions: int = 1, config: dict[str, str] | None = None) -> str:
        name = f"test-{uuid4().hex[:12]}"
        create_topics(kafka, name, partitions=partitions, config=config)
        return name

    return make


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """`own_broker(nodes=1, …)`: a started Cluster of the test's own, to stop, kill and pause at will.

    Takes what `Cluster` takes, the data directory aside; stopped hard when the test ends.
    """
    train()
    with ExitStack() as running:

        def start(name: str = "own-kafka", **options: object) -> Cluster:
            cluster = Cluster(tmp_path / name, **{"release": chosen(), **options})  # type: ignore[arg-type]
            running.callback(cluster.kill)
            cluster.start()
            return cluster

        yield start
