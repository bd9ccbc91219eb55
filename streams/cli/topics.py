"""`telefonie topics create` and `telefonie topics check`."""

import asyncio
import os

import click
import msgspec

from streams.settings import Settings
from streams.topics import Finding
from streams.topics import check as check_topics
from streams.topics import create as create_topics

_COLOURS = {"created": "green", "ok": "green", "warning": "yellow", "error": "red"}

_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per finding and line.")


@click.group()
def topics() -> None:
    """Make the topics, or compare what exists with what is needed.

    \b
    Example:
      telefonie topics create
      telefonie topics check --json
    """


@topics.command()
@_json_option
def create(as_json: bool) -> None:
    """Make the topics that are missing; leave the others as they are.

    The settings PARTITIONS, REPLICATION, INPUT_RETENTION and OUTPUT_RETENTION say how. Beside a calls topic
    that exists the others get as many partitions as it has.

    \b
    Example:
      TELEFONIE_BROKERS=127.0.0.1:9092 TELEFONIE_PARTITIONS=12 telefonie topics create
    """
    _report(asyncio.run(create_topics(Settings.load(os.environ))), as_json)


@topics.command()
@_json_option
def check(as_json: bool) -> None:
    """Compare the topics that exist with what is needed; exit 1 if the processor would not run on them.

    The end of the calls topic is looked at, too: a warning says so when its keys are not the call ids.

    \b
    Example:
      TELEFONIE_BROKERS=127.0.0.1:9092 telefonie topics check
    """
    _report(asyncio.run(_check(Settings.load(os.environ))), as_json)


async def _check(settings: Settings) -> list[Finding]:
    from streams.keys import check_keys

    return await check_topics(settings) + await check_keys(settings)


def _report(findings: list[Finding], as_json: bool) -> None:
    for each in findings:
        if as_json:
            click.echo(msgspec.json.encode(each))
        else:
            click.echo(
                f"{click.style(f'{each.verdict:<8}', fg=_COLOURS[each.verdict])} {each.topic} {each.message}"
            )
    if any(each.verdict == "error" for each in findings):
        raise SystemExit(1)
