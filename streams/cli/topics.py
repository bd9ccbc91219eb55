"""`telefonie topics create`, `telefonie topics check` and `telefonie topics alter`."""

import asyncio
import os
from collections.abc import Mapping

import click
import msgspec

from streams.kafka.topics import Finding
from streams.kafka.topics import alter as alter_topics
from streams.kafka.topics import check as check_topics
from streams.kafka.topics import create as create_topics
from streams.kafka.topics.comparison import Verdict
from streams.settings import Settings

_COLOURS = {
    "created": "green",
    "grown": "green",
    "changed": "green",
    "ok": "green",
    "warning": "yellow",
    "error": "red",
}

_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per finding and line.")


@click.group()
def topics() -> None:
    """Create the topics, compare what exists with what is needed, or change it accordingly.

    \b
    Example:
      telefonie topics create
      telefonie topics check --json
      telefonie topics alter --dry-run
    """


@topics.command()
@_json_option
def create(as_json: bool) -> None:
    """Create the topics that are missing, and add partitions if the calls topic has gained some.

    The settings PARTITIONS, REPLICATION, INPUT_RETENTION and OUTPUT_RETENTION apply. If the calls topic exists already,
    the others get as many partitions as it has; running workers pick up the new ones. Nothing else about existing
    topics is changed.

    \b
    Example:
      TELEFONIE_BROKERS=127.0.0.1:9092 TELEFONIE_PARTITIONS=12 telefonie topics create
    """
    _report(asyncio.run(create_topics(Settings.load(os.environ))), as_json)


@topics.command()
@_json_option
def check(as_json: bool) -> None:
    """Compare the existing topics with what is needed; exit 1 if the processor would not run on them.

    Every setting of a topic that matters is checked; docs/topics.md lists them with the reasons. The end of the calls
    topic is sampled, too: there is a warning if its keys are not call ids.

    \b
    Example:
      TELEFONIE_BROKERS=127.0.0.1:9092 telefonie topics check
    """
    _report(asyncio.run(_check(Settings.load(os.environ))), as_json)


@topics.command()
@click.argument("names", metavar="[TOPIC]...", nargs=-1)
@click.option(
    "--dry-run", is_flag=True, help="Change nothing; print the equivalent commands of Kafka's own tool."
)
@_json_option
def alter(names: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Give all topics, or only these, the settings that `check` asks for.

    Other settings, partitions and replicas are not changed.

    \b
    Example:
      telefonie topics alter --dry-run
      telefonie topics alter telefonie-calls-calls-changelog
    """
    settings = Settings.load(os.environ)
    changed = asyncio.run(alter_topics(settings, names, dry_run))
    if dry_run and not as_json:
        for topic, change in changed.items():
            click.echo(_command(settings.brokers or "", topic, change))
        return
    verdict: Verdict = "warning" if dry_run else "changed"
    said = "would get" if dry_run else "has got"
    _report(
        [Finding(topic, verdict, f"{said} {_listed(change)}", change) for topic, change in changed.items()],
        as_json,
    )


def _listed(change: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in change.items())


def _command(brokers: str, topic: str, change: Mapping[str, str]) -> str:
    values = (f"{name}=[{value}]" if "," in value else f"{name}={value}" for name, value in change.items())
    return (
        f"kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type topics --entity-name {topic} "
        f"--add-config {','.join(values)}"
    )


async def _check(settings: Settings) -> list[Finding]:
    from streams.operations.call_keys import check_keys

    return await check_topics(settings) + await check_keys(settings)


def _report(findings: list[Finding], as_json: bool) -> None:
    for each in findings:
        if as_json:
            click.echo(msgspec.json.encode(each))
        else:
            click.echo(
                f"{click.style(f'{each.verdict:<8}', fg=_COLOURS[each.verdict])} {each.topic} {each.message}"
            )
    if any(each.change for each in findings if each.verdict in ("warning", "error")):
        click.echo("`telefonie topics alter --dry-run` shows how to correct these settings", err=True)
    if any(each.verdict == "error" for each in findings):
        raise SystemExit(1)
