"""Who can do the work: our worker, that of another checkout, Kafka Streams, and the others of `benchmarks.peers`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from benchmarks.measure import Process
from benchmarks.peers import kafka_streams
from benchmarks.worker import ROOT, environment, process, worker

_STREAMS = "kafka_streams"


@dataclass(frozen=True)
class Login:
    """How to reach brokers over TLS with a password (SCRAM-SHA-512); `authority` is a PEM file."""

    user: str
    password: str
    authority: Path

    def settings(self) -> dict[str, str]:
        """For our worker."""
        return {
            "SECURITY_PROTOCOL": "SASL_SSL",
            "SSL_CA_FILE": str(self.authority),
            "SASL_MECHANISM": "SCRAM-SHA-512",
            "SASL_USERNAME": self.user,
            "SASL_PASSWORD": self.password,
        }

    def properties(self) -> dict[str, str]:
        """For Kafka's own clients."""
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        return {
            "security.protocol": "SASL_SSL",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority),
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.jaas.config": f'{module} required username="{self.user}" password="{self.password}";',
        }


@dataclass(frozen=True)
class Job:
    """What is to be done: read the topic `calls`, write `completed`, as the consumer group `group`."""

    brokers: str
    group: str
    calls: str
    completed: str
    guarantee: str = "exactly_once"
    commit_ms: int = 100
    session_ms: int = 10_000
    login: Login | None = None
    #: For state on disk.
    data: Path | None = None


@dataclass(frozen=True)
class Contestant:
    """Somebody who does it: a module of `benchmarks.peers`, or our worker where there is none."""

    title: str
    module: str | None = None
    #: A hundredth of the others' rate: gets a smaller load.
    is_slow: bool = False
    #: Where our worker keeps the state of calls.
    store: str = "memory"
    #: The code of our worker.
    checkout: Path = ROOT
    #: The interpreter, for whatever is in Python.
    python: str = sys.executable
    #: What Kafka Streams is given besides.
    properties: dict[str, str] = field(default_factory=dict)

    def start(self, job: Job, log: Path | None = None) -> AbstractContextManager[Process]:
        """A process that does the job; killed at the end."""
        if self.module is None:
            return worker(self._environment(job), log, self.checkout, self.python)
        arguments = [job.brokers, job.group, job.calls, job.completed, job.guarantee]
        if self.module == _STREAMS:
            return process(kafka_streams.command(arguments, self._properties(job)), dict(os.environ), log)
        command = [self.python, "-W", "ignore", "-m", f"benchmarks.peers.{self.module}", *arguments]
        return process(command, dict(os.environ), log)

    def _environment(self, job: Job) -> dict[str, str]:
        settings = {
            "GUARANTEE": job.guarantee,
            "COMMIT_INTERVAL": f"{job.commit_ms}ms",
            "SESSION_TIMEOUT": f"{job.session_ms}ms",
            "STORE": self.store,
            **({"DATA_DIR": str(job.data)} if job.data else {}),
            **(job.login.settings() if job.login else {}),
        }
        return environment(job.brokers, job.group, job.calls, job.completed, **settings)

    def _properties(self, job: Job) -> dict[str, str]:
        return {
            "commit.interval.ms": str(job.commit_ms),
            "consumer.session.timeout.ms": str(job.session_ms),
            **(job.login.properties() if job.login else {}),
            **self.properties,
        }


OURS = "worker"
CONTESTANTS = {
    OURS: Contestant("telefonie worker"),
    "worker_rocksdb": Contestant("telefonie worker, rocksdb", store="rocksdb"),
    _STREAMS: Contestant("Kafka Streams", _STREAMS),
    "kafka_streams_standby": Contestant(
        "Kafka Streams, one standby", _STREAMS, properties={"num.standby.replicas": "1"}
    ),
    "confluent_loop": Contestant("confluent-kafka loop", "confluent_loop"),
    "aiokafka_loop": Contestant("aiokafka loop", "aiokafka_loop"),
    "quix_streams": Contestant("Quix Streams", "quix_streams"),
    "plain_faust": Contestant("plain Faust", "plain_faust", is_slow=True),
}

with_checkouts = click.option(
    "--checkout",
    "checkouts",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Let the worker of another checkout take part, under this name, on the Python of its .venv.  [repeatable]",
)


def chosen(names: Sequence[str], checkouts: Sequence[str]) -> dict[str, Contestant]:
    """Contestants by their names, and those of the checkouts behind them; says so where Streams cannot run.

    Raises BadParameter for an unknown name and for a folder that is no checkout.
    """
    found = {}
    for name in names:
        if name not in CONTESTANTS:
            raise click.BadParameter(f"{name} is none of {', '.join(CONTESTANTS)}")
        reason = kafka_streams.why_not() if CONTESTANTS[name].module == _STREAMS else None
        if reason:
            click.echo(f"without {name}: {reason}", err=True)
        else:
            found[name] = CONTESTANTS[name]
    for each in checkouts:
        name, _, folder = each.partition("=")
        if not (name and folder) or not Path(folder, "streams", "__main__.py").is_file():
            raise click.BadParameter(f"{each} names no checkout: it should read NAME=FOLDER")
        title = f"{CONTESTANTS[OURS].title}, {name}"
        checkout = Path(folder).resolve()
        own = checkout / ".venv" / "bin" / "python"
        python = str(own) if own.is_file() else sys.executable
        found[name] = replace(CONTESTANTS[OURS], title=title, checkout=checkout, python=python)
    return found
