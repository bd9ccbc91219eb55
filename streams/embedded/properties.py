"""The configuration of an embedded broker: server.properties and meta.properties."""

import base64
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

CLIENTS = "PLAINTEXT"
CONTROLLER = "CONTROLLER"

Ports: TypeAlias = dict[str, int]
"""The port of each listener of one broker, by the listener's name."""

NO_PORTS: Ports = {CLIENTS: 0, CONTROLLER: 0}

_COMMON = {
    "process.roles": "broker,controller",
    "controller.listener.names": CONTROLLER,
    "inter.broker.listener.name": CLIENTS,
    "auto.create.topics.enable": "false",
    # Nothing is deleted by age, and no record is refused for its timestamp: test and sample data may have any time.
    "log.retention.ms": "-1",
    "log.message.timestamp.after.max.ms": str(2**63 - 1),
    # The defaults are for large clusters: 50 partitions each, 128 MB of heap, three seconds of waiting.
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "log.cleaner.dedupe.buffer.size": "16777216",
    # A broker that starts reads these topics completely before groups and transactions continue, and a segment of 100
    # MB (the default), which is hours of commits in one partition, is not compacted before it is full.
    "offsets.topic.segment.bytes": "4194304",
    "transaction.state.log.segment.bytes": "4194304",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # After a SIGKILL the controller waits for the old session to end: 9 s by default.
    "broker.session.timeout.ms": "1500",
    "broker.heartbeat.interval.ms": "300",
}
_QUORUM = {
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1000",
    "replica.lag.time.max.ms": "3000",
}


def server_properties(node: int, ports: list[Ports], data: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The settings of broker `node` (from 1); those in `extra` take precedence."""
    mine = ports[node - 1]
    return {
        **_COMMON,
        **(_QUORUM if len(ports) > 1 else {}),
        **_replication(len(ports)),
        "node.id": str(node),
        "log.dirs": str(data.absolute()),
        "controller.quorum.voters": ",".join(
            f"{voter}@127.0.0.1:{theirs[CONTROLLER]}" for voter, theirs in enumerate(ports, 1)
        ),
        "listeners": _listeners(mine),
        "advertised.listeners": _listeners({name: port for name, port in mine.items() if name != CONTROLLER}),
        "listener.security.protocol.map": ",".join(
            f"{name}:{CLIENTS if name == CONTROLLER else name}" for name in mine
        ),
        **extra,
    }


def _replication(nodes: int) -> dict[str, str]:
    """Three copies, two of them in sync, if there are three brokers."""
    copies, in_sync = str(min(nodes, 3)), str(min(nodes, 2))
    return {
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
    }


def _listeners(ports: Ports) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


def write(file: Path, properties: Mapping[str, str]) -> None:
    """Write a Java properties file."""
    file.write_text("".join(f"{name}={_escape(value)}\n" for name, value in properties.items()), "latin-1")


def _escape(value: str) -> str:
    # Outside ASCII, a properties file has UTF-16 code units as \uXXXX, like JSON.
    return json.dumps(value)[1:-1].replace('\\"', '"')


def kafka_uuid() -> str:
    """A random id in Kafka's format: 22 characters of URL-safe base64, none of them a dash."""
    return base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=").replace("-", "_")


def format_directory(data: Path, cluster_id: str, node: int, bootstrap_checkpoint: Path) -> None:
    """Make `data` a log directory of the cluster unless it is one already, as `kafka-storage format` does."""
    meta = data / "meta.properties"
    if meta.exists():
        return
    data.mkdir(exist_ok=True)
    shutil.copy(bootstrap_checkpoint, data / "bootstrap.checkpoint")
    write(
        meta, {"version": "1", "cluster.id": cluster_id, "node.id": str(node), "directory.id": kafka_uuid()}
    )
