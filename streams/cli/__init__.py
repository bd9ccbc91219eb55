"""The command `telefonie`: one file per command.

Data goes to stdout, everything else to stderr. Exit code 0 means success, 1 a problem with the input, the data or the
environment (one line, `error: …`), 2 a wrong command line.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from streams.errors import OperatorError
from streams.kafka.errors import told
from streams.printable import printable

# Imported only when used: `--help` must not wait for Kafka clients to load.
_COMMANDS = {
    "run": "Run everything on this machine, with an embedded Kafka unless TELEFONIE_BROKERS is set.",
    "worker": "Run one worker of the consumer group.",
    "topics": "Create the topics, check them, or alter their settings.",
    "status": "Show how far the group is, and whether its sums are right.",
    "calls": "Show calls that the workers hold: one by its id, or the open ones.",
    "completed": "Show published completed calls.",
    "dead": "Show dead letters, and send them back once corrected.",
    "replay": "Recompute the completed calls of a range of the log, and compare.",
    "simulate": "Send simulated calls to the calls topic.",
    "validate": "Check whether each JSON line is a valid Call.",
    "schema": "Print a JSON Schema, or the AsyncAPI document of all topics.",
    "settings": "Print every setting with its value, default and meaning.",
    "broker": "Run only the embedded Kafka.",
}


class _Failure(click.ClickException):
    def show(self, file: Any = None) -> None:
        click.echo(
            f"{click.style('error:', fg='red')} {printable(self.format_message())}", file=file, err=True
        )


class Commands(click.Group):
    """Commands by name, each in the module of that name beside this one, imported when it is asked for."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"streams.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        with _explained():
            return super().invoke(ctx)


@contextmanager
def _explained() -> Iterator[None]:
    """Turns errors that people can fix into one line and exit code 1; a bug keeps its traceback."""
    try:
        yield
    except OperatorError as error:
        raise _Failure(str(error)) from None
    except Exception as error:
        if (failure := told(error)) is error:
            raise
        raise _Failure(str(failure)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="telefonie-streams", message="%(prog)s %(version)s")
def main() -> None:
    """Turns Telefonie Call events from Kafka into completed-call records, KPI windows and metrics.

    Settings come from environment variables; `telefonie settings` lists them.

    \b
    Example:
      telefonie run
      TELEFONIE_BROKERS=kafka-1:9092,kafka-2:9092 telefonie worker
    """
