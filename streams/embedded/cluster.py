"""Real Kafka brokers as child processes: one, or three for tests of failures."""

import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.embedded import jars, layout, properties
from streams.embedded.errors import EmbeddedKafkaError
from streams.embedded.installation import Installation, install
from streams.embedded.processes import STOP_PATIENCE, Child

_START_PATIENCE = 60.0  # seconds


class Broker:
    """One broker of a cluster: a JVM that can be stopped, killed, paused and started again.

    It keeps its data and its ports as long as the cluster object lives.
    """

    def __init__(
        self, node: int, directory: Path, ports: properties.Ports, command: list[str | Path], lock: int
    ) -> None:
        self.node = node
        self.log = directory / f"node-{node}.log"
        self._ports = ports
        self._command = command
        self._lock = lock
        self._child: Child | None = None

    def address(self, listener: str = properties.CLIENTS) -> str:
        """The `host:port` of one of its listeners."""
        return f"127.0.0.1:{self._ports[listener]}"

    @property
    def running(self) -> bool:
        """Whether its process exists, even if it is paused."""
        return self._child is not None and self._child.exit_code() is None

    @property
    def pid(self) -> int:
        """The process id of the JVM."""
        return self._process().pid

    def spawn(self) -> None:
        """Start the process, without waiting for it."""
        if not self.running:
            self._child = Child(f"broker {self.node}", self._command, self.log, keep_open=[self._lock])

    def start(self) -> None:
        """Start it, and wait until it accepts connections; raises as `wait_ready` does."""
        self.spawn()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it accepts connections.

        Raises ChildEnded if it ends instead, EmbeddedKafkaError if it does not answer for a minute; the message has the
        end of its log.
        """
        give_up = time.monotonic() + _START_PATIENCE
        while not self._accepts():
            self.check()
            if time.monotonic() > give_up:
                raise EmbeddedKafkaError(
                    f"broker {self.node} does not answer; the end of {self.log}:\n{self._process().last_lines()}"
                )
            time.sleep(0.02)

    def check(self) -> None:
        """Raise ChildEnded if its process has ended."""
        self._process().check()

    def _accepts(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._ports[properties.CLIENTS]), 1):
                return True
        except OSError:
            return False

    def stop(self, patience: float = STOP_PATIENCE) -> None:
        """SIGTERM, after `patience` seconds SIGKILL."""
        if self._child:
            self._child.stop(patience)

    def kill(self) -> None:
        """SIGKILL; what the broker has acknowledged is kept."""
        if self._child:
            self._child.kill()

    def pause(self) -> None:
        """SIGSTOP: its connections stay open, nothing answers."""
        self._process().signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        self._process().signal(signal.SIGCONT)

    def _process(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"broker {self.node} was never started")
        return self._child


class Cluster:
    """A Kafka cluster on this machine; a context manager that starts and stops it.

    Its data is in its data directory, and the next start there continues with it, on the same ports if they are free.
    While it runs, no other process can use the directory.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        port: int | None = None,
        nodes: int = 1,
        listeners: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        flags: Sequence[str] = (),
        cache: Path | None = None,
        release: Path | None = None,
        progress: jars.Progress = lambda _done, _all: None,
    ) -> None:
        """Describe the cluster; `start` creates it.

        `port` is the first broker's port for clients, and the next broker takes the next one; without it, any free
        ports. `listeners` are protocols to listen on in addition to `PLAINTEXT`: `SSL`, `SASL_PLAINTEXT`, `SASL_SSL`.
        `settings` are additional server properties, `flags` additional JVM flags. `cache` is where the jars are kept,
        `jars.cache_dir()` by default; `release` is the list of jars of another Kafka release; `progress` is notified of
        their download.
        """
        self.brokers: list[Broker] = []
        self._directory = Path(data_dir).absolute()
        self._port = port
        self._nodes = nodes
        self._listeners = (properties.CLIENTS, *listeners, properties.CONTROLLER)
        self._settings = dict(settings or {})
        self._flags = tuple(flags)
        self._cache = cache
        self._release = release
        self._progress = progress
        self._lock: int | None = None

    def bootstrap(self, listener: str = properties.CLIENTS) -> str:
        """The addresses of all brokers, `host:port,…`, for clients' `bootstrap.servers`."""
        return ",".join(broker.address(listener) for broker in self.brokers)

    def start(self) -> str:
        """Start all brokers, wait until they accept connections, and return the bootstrap addresses.

        Raises EmbeddedKafkaError if something prevents it (no jars and no network, the data directory or the port in
        use), ChildEnded if a broker ends by itself; nothing is left running then.
        """
        installation = install(self._cache, self._progress, self._release)
        self._lock = layout.lock(self._directory)
        try:
            self.brokers = self._prepare(installation, self._lock)
            for broker in self.brokers:
                broker.spawn()
            for broker in self.brokers:
                broker.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self.bootstrap()

    def _prepare(self, kafka: Installation, lock: int) -> list[Broker]:
        cluster_id, ports = layout.settle(self._directory, self._nodes, self._listeners, self._port)
        brokers = []
        for node, own_ports in enumerate(ports, 1):
            data, file = self._directory / f"node-{node}", self._directory / f"node-{node}.properties"
            properties.format_directory(data, cluster_id, node, kafka.bootstrap_checkpoint())
            properties.write(file, properties.server_properties(node, ports, data, self._settings))
            command = kafka.broker_command(file, self._flags)
            brokers.append(Broker(node, self._directory, own_ports, command, lock))
        return brokers

    def check(self) -> None:
        """Raise ChildEnded if a broker has ended."""
        for broker in self.brokers:
            broker.check()

    def stop(self, patience: float = STOP_PATIENCE) -> None:
        """Stop the brokers cleanly, one after the other; one that takes longer than `patience` is killed.

        The last of several is killed: alone it has no quorum and cannot stop by itself.
        """
        for broker in self.brokers[: max(1, self._nodes - 1)]:
            broker.stop(patience)
        self.kill()

    def kill(self) -> None:
        """SIGKILL all brokers."""
        for broker in self.brokers:
            broker.kill()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
