"""The data directory of a cluster: which process uses it, and its ids and ports."""

import fcntl
import json
import os
import random
import socket
import time
from collections.abc import Collection
from pathlib import Path

from streams.embedded.errors import EmbeddedKafkaError
from streams.embedded.properties import Ports, kafka_uuid

# Below the ports that Linux uses for outgoing connections (from 32768): a client that connects to the port of a stopped
# broker can neither take that port nor connect to itself.
_PORTS = range(20_000, 32_000)
_LOCK_PATIENCE = 3.0  # seconds: a broker whose parent was just killed will end soon


def lock(directory: Path) -> int:
    """Lock the directory; returns the descriptor that holds the lock, for the brokers to inherit.

    So it is locked until this process has closed it and the last broker has ended.
    """
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
                f"the data directory {directory} is in use by process {owner}: stop that process, or "
                "choose another directory"
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


def settle(
    directory: Path, nodes: int, listeners: Collection[str], port: int | None
) -> tuple[str, list[Ports]]:
    """The cluster's id and the ports of each broker, remembered in the directory from start to start.

    `port` is that of the first listener on the first broker (the next broker has the next one); every other port is the
    previous one if that is still free, otherwise any free one.
    """
    file = directory / "cluster.json"
    cluster_id, before = _known(file) or (kafka_uuid(), [Ports()] * nodes)
    if len(before) != nodes:
        raise EmbeddedKafkaError(
            f"the data directory {directory} belongs to {len(before)} brokers, not to {nodes}: choose "
            "another directory"
        )
    first, *others = listeners
    taken: set[int] = set()
    ports = [
        {
            first: _port(port + node if port else None, last.get(first), taken),
            **{name: _port(None, last.get(name), taken) for name in others},
        }
        for node, last in enumerate(before)
    ]
    file.write_text(json.dumps({"id": cluster_id, "ports": ports}))
    return cluster_id, ports


def _known(file: Path) -> tuple[str, list[Ports]] | None:
    if not file.exists():
        return None
    known = json.loads(file.read_text())
    return known["id"], known["ports"]


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
