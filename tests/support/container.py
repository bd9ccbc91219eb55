"""The broker of the tests in a container: the published image, configured like the embedded Kafka."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.kafka import wait_until_ready
from testcontainers.core.container import DockerContainer

from streams.embedded.properties import server_properties

IMAGE = "apache/kafka:4.3.1"


@contextmanager
def kafka_container() -> Iterator[str]:
    """The address of a broker that runs meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    # The port is the same inside and outside, so that the address the broker gives to its clients is right.
    container = DockerContainer(IMAGE).with_bind_ports(port, port)
    for name, value in _settings(port).items():
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    with container:
        address = f"{container.get_container_host_ip()}:{port}"
        wait_until_ready(address)
        yield address


def _settings(port: int) -> dict[str, str]:
    listeners = f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://localhost:9093"
    voters = "1@localhost:9093"
    changed = {"listeners": listeners, "controller.quorum.voters": voters}
    return server_properties(1, [{"PLAINTEXT": port, "CONTROLLER": 9093}], Path("/tmp/kafka-logs"), changed)
