"""`telefonie run`: everything on one machine."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import click

from streams import logs
from streams.cli.embedded import embedded_kafka, sigterm_is_ctrl_c
from streams.cli.feed import records
from streams.cli.follow import asked, figures
from streams.embedded.processes import Child, ChildEnded
from streams.kafka import topics
from streams.kafka.topics import TopicsError
from streams.operations.traffic import Sent, send
from streams.settings import PREFIX, Settings, SettingsError
from streams.worker.endpoint import local_url

_RATE = 50.0
# Seconds that a part has to stop: a worker gives itself a little less than the first. Once something has failed, it is
# most likely Kafka, and nothing can be committed any more.
_PATIENCE, _PATIENCE_AFTER_FAILURE = 30.0, 5.0
_LOOK = 0.5  # seconds

Check = Callable[[], None]


@click.command()
@click.option(
    "--simulate",
    "rate",
    type=click.FloatRange(0),
    help=f"Simulated calls per second; 0 for none.  [default: {_RATE:g}]",
)
@click.option(
    "--input",
    "file",
    type=click.File("rb"),
    help="Feed this file of JSON lines (- is stdin) instead, print the result, and end.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def run(rate: float | None, file: BinaryIO | None, as_json: bool) -> None:
    """Run everything on this machine: Kafka, the topics, a worker, and simulated calls.

    Unless TELEFONIE_BROKERS is set, an embedded Kafka is started; the very first start downloads 45 MB for it. Data is
    kept in TELEFONIE_DATA_DIR (by default .telefonie in the current directory), and the next run continues from there.
    Ctrl-C stops everything.

    With --input, every line of the file becomes a record, in order, with the current time as its timestamp and the "id"
    of the document as its key. Rejected records are not an error.

    \b
    Example:
      telefonie run
      telefonie run --input calls.jsonl
    """
    if file and rate is not None:
        raise click.UsageError("--input and --simulate are mutually exclusive")
    if as_json and not file:
        raise click.UsageError("--json needs --input")
    sigterm_is_ctrl_c()
    if file:
        _feed(file, as_json)
    else:
        with suppress(KeyboardInterrupt):
            _serve(_RATE if rate is None else rate)


def _serve(rate: float) -> None:
    """Run until Ctrl-C; raises ChildEnded if a part ends by itself."""
    with _kafka() as (settings, checks), ExitStack() as running:
        worker = running.enter_context(_child("worker", settings))
        checks.append(worker.check)
        url = local_url(settings)
        while asked(url, "/ready") is None:
            _look(checks)
        if rate:
            traffic = running.enter_context(_child("simulate", settings, "--rate", str(rate)))
            checks.append(traffic.check)
        click.echo(_where(settings, url, rate))
        _follow(url, checks)


def _feed(file: BinaryIO, as_json: bool) -> None:
    """Send the file, and have a worker catch up with it, which prints what it did."""
    with _kafka() as (settings, checks):
        sent = Sent()
        asyncio.run(send(settings, records(file), live=False, sent=sent))
        click.echo(f"sent {sent.records:,} records to {settings.calls_topic}", err=True)
        options = ["--until-caught-up", *(["--json"] if as_json else [])]
        with _child("worker", settings, *options, shares_stdout=True) as worker:
            worker.wait()
        where = settings.brokers if not checks else "the embedded Kafka (`telefonie broker` starts it alone)"
        click.echo(
            f"completed calls are in {settings.completed_topic}, rejected records in "
            f"{settings.dead_topic}, at {where}",
            err=True,
        )


@contextmanager
def _kafka() -> Iterator[tuple[Settings, list[Check]]]:
    """The settings with brokers that answer, once all topics exist; and a check that raises if the brokers have
    ended."""
    settings = Settings.load(os.environ)
    logs.configure(settings)
    Path(settings.data_dir).mkdir(exist_ok=True, parents=True)
    with ExitStack() as running:
        checks: list[Check] = []
        if settings.brokers is None:
            if settings.security_protocol != "PLAINTEXT":
                raise SettingsError(
                    f"{PREFIX}BROKERS is missing: the embedded Kafka takes no "
                    f"{PREFIX}SECURITY_PROTOCOL={settings.security_protocol}"
                )
            cluster = running.enter_context(embedded_kafka(Path(settings.data_dir) / "kafka"))
            settings = replace(settings, brokers=cluster.bootstrap())
            checks.append(cluster.check)
        _make_topics(settings)
        yield replace(settings, http_port=settings.http_port or _free_port(settings.http_bind)), checks


def _make_topics(settings: Settings) -> None:
    for found in asyncio.run(topics.create(settings)):
        if found.verdict == "error":
            raise TopicsError(f"topic {found.topic} {found.message}")


def _free_port(bind: str) -> int:
    with socket.create_server((bind, 0), family=socket.AF_INET6 if ":" in bind else socket.AF_INET) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _child(command: str, settings: Settings, *options: str, shares_stdout: bool = False) -> Iterator[Child]:
    """One of these commands as a child process, stopped at the end."""
    told = {"BROKERS": str(settings.brokers), "HTTP_PORT": str(settings.http_port)}
    inherited = {name: value for name, value in os.environ.items() if name != f"{PREFIX}HTTP_PORT_FILE"}
    child = Child(
        f"telefonie {command}",
        [sys.executable, "-m", "streams", command, *options],
        Path(settings.data_dir) / f"{command}.log",
        environment={**inherited, **{PREFIX + name: value for name, value in told.items()}},
        shares_stdout=shares_stdout,
    )
    patience = _PATIENCE
    try:
        yield child
    except ChildEnded:
        patience = _PATIENCE_AFTER_FAILURE
        raise
    finally:
        if child.exit_code() is None:
            click.echo(f"stopping {child.name}", err=True)
        child.stop(patience)


def _where(settings: Settings, url: str, rate: float) -> str:
    logs = ", ".join(
        f"{settings.data_dir}/{name}.log" for name in ["worker", *(["simulate"] if rate else [])]
    )
    return (
        f"Kafka      {settings.brokers}\n"
        f"live page  {url}\n"
        f"metrics    {url}/metrics\n"
        f"calls      {settings.calls_topic}\n"
        f"completed  {settings.completed_topic}\n"
        f"rejected   {settings.dead_topic}\n"
        f"logs       {logs}\n"
        f"traffic    {f'{rate:g} simulated calls a second' if rate else 'none'}\n"
        "Any Kafka consumer shows the records, for instance\n"
        f"  kafka-console-consumer.sh --bootstrap-server {settings.brokers} --topic {settings.completed_topic} "
        "--from-beginning --isolation-level read_committed\n"
        "Ctrl-C stops everything."
    )


def _follow(url: str, checks: Sequence[Check]) -> None:
    """Watch the parts forever; on a terminal, show what the worker does."""
    if not sys.stderr.isatty():
        while True:
            _look(checks)
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        while True:
            _look(checks)
            if (metrics := asked(url, "/metrics")) is not None:
                status.update(figures(metrics))


def _look(checks: Sequence[Check]) -> None:
    for check in checks:
        check()
    time.sleep(_LOOK)
