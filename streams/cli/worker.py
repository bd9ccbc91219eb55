"""`telefonie worker`."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import click
import msgspec

from streams.cli.terminal import counted, table, text
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.worker.summary import Summary


@click.command()
@click.option(
    "--until-caught-up",
    is_flag=True,
    help="Exit 0 once everything that was in the calls topic at the start is processed and committed.",
)
@click.option("--json", "as_json", is_flag=True, help="With --until-caught-up, print what was done as JSON.")
def worker(until_caught_up: bool, as_json: bool) -> None:
    """Run one worker of the consumer group, in the foreground.

    SIGTERM stops it cleanly: it commits, leaves the group, and exits 0. With --until-caught-up the idle clock is off,
    and the worker prints at the end what it has done.

    \b
    Example:
      TELEFONIE_BROKERS=127.0.0.1:9092 telefonie worker
      TELEFONIE_BROKERS=127.0.0.1:9092 telefonie worker --until-caught-up --json
    """
    from streams import logs
    from streams.kafka.credentials import client_options
    from streams.worker.web.server import WebServer
    from streams.worker.worker import Worker

    settings = Settings.load(os.environ)
    client_options(settings)  # reports what is missing before anything starts
    logs.configure(settings)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    running = Worker(settings, until_caught_up=until_caught_up)
    running.web = WebServer(settings, running.metrics, running.watch, running.watch)
    running.execute()
    if until_caught_up and running.summary is not None:
        _show(running.summary, as_json)


def _show(done: Summary, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(done))
        return
    rows = (
        ("read", text(done.read)),
        ("applied", text(done.applied)),
        ("rejected", counted(done.rejected)),
        ("completed", counted(done.completed)),
        ("open", counted(done.open)),
    )
    table(("", ""), rows)
