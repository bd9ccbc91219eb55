"""`telefonie dead redrive`."""

import asyncio
import os
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import click
import msgspec

from streams import logs
from streams.cli.dead_options import Place, selecting
from streams.cli.options import json_option
from streams.cli.terminal import progress, progress_beside_output, say
from streams.codecs import CallDecoder, Rejected
from streams.errors import OperatorError
from streams.settings import Settings

_TRANSFORM_SECONDS = 30.0


@click.command()
@click.argument("places", type=Place(), nargs=-1, metavar="[PARTITION:OFFSET]...")
@selecting
@click.option(
    "--all", "everything", is_flag=True, help="Send all dead letters; needed if no other option selects some."
)
@click.option("--limit", type=click.IntRange(1), help="Send at most this many.")
@click.option(
    "--transform",
    metavar="COMMAND",
    help="A shell command that reads each value from stdin and writes the corrected one to stdout.",
)
@click.option(
    "--now-timestamp", is_flag=True, help="Stamp the records with the current time instead of their own."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Send nothing; print what would be sent, and whether each record is a valid Call.",
)
@json_option
def redrive(
    places: tuple[tuple[int, int], ...],
    selection: Any,
    everything: bool,
    limit: int | None,
    transform: str | None,
    now_timestamp: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send dead letters back to the topic and partition that they came from.

    Each is sent once: the topic {DEAD_TOPIC}-redriven records what has been sent back, and the next run skips it, even
    if this one is killed, or if the next one has another APP_ID. The headers dead-… are removed, and redriven-from is
    added with the place of the dead letter. Keys and timestamps are unchanged. A worker reads the record like any
    other; if it rejects it again, that is a new dead letter.

    A value for which the transform writes nothing stays where it is; a transform that fails ends the redrive. If a
    letter has no value, because it was too large for its topic, the record is read at its origin; if it is gone there,
    it is counted, and the exit code is 1.

    Dead letters that were too-early can be sent back unchanged once their time has come. --now-timestamp sends one that
    was too-late as a new, current event: its call then starts over.

    \b
    Example:
      telefonie dead redrive --reason schema --since 2h --transform 'jq -c "del(.duration)"' --dry-run
      telefonie dead redrive 3:1742 3:1743
    """
    from streams.operations.dead_letters import DeadLetterSelection
    from streams.operations.redrive import Correction

    selection = replace(selection, places=frozenset(places))
    if (selection == DeadLetterSelection()) != everything:
        raise click.UsageError(
            "select dead letters by place, --reason, --since, --until, --partition, --path, --key or "
            "--origin; or all with --all"
        )
    settings = Settings.load(os.environ)
    logs.configure(settings)
    correction = Correction(transform=_through(transform) if transform else None, stamp_now=now_timestamp)
    if dry_run:
        asyncio.run(_rehearse(settings, selection, correction, limit, as_json))
    else:
        _redrive(settings, selection, correction, limit, as_json)


def _redrive(settings: Settings, selection: Any, correction: Any, limit: int | None, as_json: bool) -> None:
    from streams.operations.redrive import Redriven, redrive

    tally = Redriven()
    try:
        with progress("dead letters") as shown:
            asyncio.run(redrive(settings, selection, correction, tally, limit, shown))
    except BaseException:
        if tally.sent:  # what was done before it failed or was interrupted
            _report(tally, as_json)
        raise
    _report(tally, as_json)
    if tally.gone:
        raise OperatorError(_cannot(tally.gone, settings))


def _cannot(gone: int, settings: Settings) -> str:
    return (
        f"{gone} dead letters are without their value, which {settings.dead_topic} could not take, and their records "
        "are gone from where they came from, or larger than is read (16 MiB): they cannot be sent back, and "
        "`telefonie dead show` names where they lay"
    )


def _report(tally: Any, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(tally))
        return
    more = f", {tally.left} left by the transform" if tally.left else ""
    more += f", {tally.gone} gone" if tally.gone else ""
    click.echo(f"{tally.sent} sent back, {tally.before} had been sent before{more}", err=True)


async def _rehearse(
    settings: Settings, selection: Any, correction: Any, limit: int | None, as_json: bool
) -> None:
    """Print what a redrive would do; nothing is written, and a running redrive is not disturbed."""
    from streams.kafka.reading import reader
    from streams.operations.dead_letters import Lost, complete, select, sent_back

    decoder, shown, gone = CallDecoder(settings.nulls), 0, 0
    with progress_beside_output("dead letters") as looked:
        async with reader(settings) as consumer, reader(settings) as origins:
            done = await sent_back(consumer, settings)
            async with aclosing(select(consumer, settings, selection, looked)) as letters:
                async for letter in letters:
                    if shown == limit:
                        break
                    if letter.identity in done:
                        continue
                    whole = await complete(origins, letter)
                    if isinstance(whole, Lost):
                        gone += 1
                        continue
                    value = await correction.value(whole)
                    if correction.transform is not None and not value:
                        continue
                    shown += 1
                    done.add(letter.identity)
                    _tell(letter, _verdict(decoder, value, whole.headers), as_json)
    click.echo(f"{shown} would be sent back", err=True)
    if gone:
        raise OperatorError(_cannot(gone, settings))


def _verdict(decoder: CallDecoder, value: bytes | None, headers: Any) -> str | None:
    """Why a worker would reject it; None if it is a valid Call."""
    try:
        decoder.decode(value, headers)
    except Rejected as rejected:
        return str(rejected)
    return None


def _tell(letter: Any, fault: str | None, as_json: bool) -> None:
    place, to = (
        f"{letter.partition}:{letter.offset}",
        f"{letter.rejection.topic}/{letter.rejection.partition}",
    )
    if as_json:
        click.echo(msgspec.json.encode({"place": place, "to": to, "valid": fault is None, "fault": fault}))
    else:
        say(f"{place} to {to}: {fault or 'a valid Call'}")


def _through(command: str) -> Callable[[Any], Any]:
    """Passes the value of a dead letter through a shell command."""

    async def transform(letter: Any) -> bytes:
        place = f"dead letter {letter.partition}:{letter.offset}"
        process = await asyncio.create_subprocess_shell(
            command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(_TRANSFORM_SECONDS):
                corrected, _ = await process.communicate(letter.value or b"")
        except TimeoutError:
            raise OperatorError(
                f"the transform of {place} took more than {_TRANSFORM_SECONDS:.0f} s"
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            raise OperatorError(
                f"the transform of {place} failed with exit code {process.returncode}: correct the "
                "command, or select other dead letters, and run it again; nothing is sent twice"
            )
        return corrected

    return transform
