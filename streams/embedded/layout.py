"""The data directory of a cluster: who uses it, which ids and ports it has."""

import base64
import fcntl
import json
import os
import random
import socket
import time
from collections.abc import Collection
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

from streams.embedded.errors import EmbeddedKafkaError

Ports: TypeAlias = dict[str, int]
"""The port of each listener of one broker, by the listener's name."""

# Below the range from which Linux takes the local ports of outgoing connections (from 32768): a client that knocks
# at a stopped broker's port cannot take it, nor be connected to itself.
_PORTS = range(20_000, 32_000)
_LOCK_PATIENCE = 3.0  # seconds: a broker whose parent was just killed is about to be gone


def lock(directory: Path) -> int:
    """Make the directory ours; the descriptor that holds it is to be inherited by the brokers and closed by us."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise EmbeddedKafkaError(f"cannot use the data directory {directory}: {error.strerror}") from error
    give_up = time.monotonic() + _LOCK_PATIENCE
    while not _try_lock(descriptor):
        if time.monotonic() > give_up:
            owner = os.pread(descriptor, 32, 0).decode()
            os.close(descriptor)
            raise EmbeddedKafkaError(
                f"the data directory {directory} is in use by process {owner}: stop it or take another directory"
            )
        time.sleep(0.05)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def kafka_uuid() -> str:
    """A random id as Kafka writes it: 22 characters of url-safe base64, none of them a leading dash."""
    return base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=").replace("-", "_")


def settle(
    directory: Path, nodes: int, listeners: Collection[str], port: int | None
) -> tuple[str, list[Ports]]:
    """The cluster's id and the ports of each broker, remembered in the directory from start to start.

    `port` is the first listener's on the first broker (the next broker has the next one); every other port is the
    one it had the last time if that is still free, else a free one.
    """
    file = directory / "cluster.json"
    known = json.loads(file.read_text()) if file.exists() else {"id": kafka_uuid(), "ports": [{}] * nodes}
    before: list[Ports] = known["ports"]
    if len(before) != nodes:
        raise EmbeddedKafkaError(
            f"the data directory {directory} holds a cluster of {len(before)}, not of {nodes}: take another directory"
        )
    taken: set[int] = set()
    ports = [
        {
            name: _port(port + node if port and name == first else None, old.get(name), taken)
            for name in listeners
        }
        for first in list(listeners)[:1]
        for node, old in enumerate(before)
    ]
    file.write_text(json.dumps({"id": known["id"], "ports": ports}))
    return known["id"], ports


def _port(wanted: int | None, last: int | None, taken: set[int]) -> int:
    if wanted and not _is_free(wanted):
        raise EmbeddedKafkaError(f"port {wanted} is in use by another program: choose another one or none")
    candidates = [wanted] if wanted else [*([last] if last else []), *random.sample(_PORTS, 100)]
    found = next(port for port in candidates if port not in taken and _is_free(port))
    taken.add(found)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
