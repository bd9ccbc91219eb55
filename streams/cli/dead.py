"""`telefonie dead list` and `dead show`; `dead redrive` has its own module."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

import click
import msgspec

from streams.calls.times import instant
from streams.cli.dead_options import Place, selecting
from streams.cli.options import json_option
from streams.cli.redrive import redrive
from streams.cli.terminal import progress, progress_beside_output, table, text
from streams.errors import OperatorError
from streams.settings import Settings

_ON_A_TERMINAL = 50  # dead letters, by default
_AT_ONCE = 500  # dead letters


@click.group()
def dead() -> None:
    """Show dead letters, which are records that were rejected, and send them back once corrected.

    A dead letter is named by its place, PARTITION:OFFSET, in the topic of dead letters. Release 0.1 did not store when
    a record was rejected: for its letters the record's own time counts.

    \b
    Example:
      telefonie dead list --since 2h
      telefonie dead show 3:1742 --value | jq .
      telefonie dead redrive --reason schema --transform 'jq -c "del(.duration)"' --dry-run
    """


dead.add_command(redrive)


@dead.command("list")
@selecting
@click.option(
    "--limit",
    type=click.IntRange(0),
    help=f"Only this many of the newest, 0 for all. [default: {_ON_A_TERMINAL} on a terminal, otherwise all]",
)
@json_option
def list_(selection: Any, limit: int | None, as_json: bool) -> None:
    """List dead letters with their reasons, but not their contents.

    With a limit, the most recently rejected ones; without one, partition by partition, as they are read.

    \b
    Example:
      telefonie dead list --reason schema --since 2h
      telefonie dead list --origin 3:1742
      telefonie dead list --json | jq -r .reason | sort | uniq -c
    """
    if limit is None and sys.stdout.isatty():
        limit = _ON_A_TERMINAL
    asyncio.run(_list(Settings.load(os.environ), selection, limit, as_json))


async def _list(settings: Settings, selection: Any, limit: int | None, as_json: bool) -> None:
    from streams.kafka.reading import newest, reader
    from streams.operations.dead_letters import select, sent_back

    async with reader(settings) as consumer:
        done = await sent_back(consumer, settings)
        if not limit and (as_json or not sys.stdout.isatty()):
            with progress_beside_output("dead letters") as shown:
                async with aclosing(select(consumer, settings, selection, shown)) as letters:
                    await _stream(letters, done, as_json)
            return
        with progress("dead letters") as shown:
            async with aclosing(select(consumer, settings, selection, shown)) as letters:
                rows = ((_stamp(letter), _row(letter, done)) async for letter in letters)
                found = await newest(rows, limit or sys.maxsize, lambda item: item[0])
    _write((row for _, row in found), as_json)
    if limit == _ON_A_TERMINAL == len(found):
        click.echo(f"the newest {limit}; --limit 0 shows all", err=True)


async def _stream(letters: AsyncIterator[Any], done: set[bytes], as_json: bool) -> None:
    """Write them as they are read, so that memory does not grow with their number."""
    rows: list[dict[str, Any]] = []
    async for letter in letters:
        rows.append(_row(letter, done))
        if len(rows) >= _AT_ONCE:
            _write(rows, as_json)
            rows.clear()
    _write(rows, as_json)


def _write(rows: Iterable[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for row in rows:
            click.echo(msgspec.json.encode(row))
    else:
        table(_HEADS, ([text(each) for each in row.values()] for row in rows))


_HEADS = ("place", "time", "reason", "path", "message", "origin", "redriven", "rejected at")


def _stamp(letter: Any) -> tuple[int, int, int]:
    return letter.written, letter.partition, letter.offset


def _row(letter: Any, done: set[bytes]) -> dict[str, Any]:
    """What anyone may see of a dead letter."""
    said = letter.rejection
    return {
        "place": f"{letter.partition}:{letter.offset}",
        "time": _time(letter.timestamp),
        "reason": said.reason,
        "path": said.path,
        "message": said.message,
        "origin": f"{said.topic}/{said.partition}/{said.offset}",
        "redriven": letter.identity in done,
        "rejected_at": _time(letter.written),
    }


def _time(ms: int) -> str | None:
    return None if ms < 0 else instant(ms)


@dead.command()
@click.argument("place", type=Place())
@click.option(
    "--value",
    "only_value",
    is_flag=True,
    help="Write the record's value to stdout, byte for byte, and nothing else.",
)
@json_option
def show(place: tuple[int, int], only_value: bool, as_json: bool) -> None:
    """Show one dead letter: its reason, origin and headers; its value only with --value.

    Key and headers are the record's own, and may hold data of the call.

    \b
    Example:
      telefonie dead show 3:1742
      telefonie dead show 3:1742 --value | telefonie validate
    """
    from streams.operations.dead_letters import Lost

    settings = Settings.load(os.environ)
    letter, whole, done = asyncio.run(_find(settings, place))
    if only_value:
        if isinstance(whole, Lost):
            raise OperatorError(_lost(letter, whole, settings))
        sys.stdout.buffer.write(whole.value or b"")
        sys.stdout.buffer.flush()
        return
    shown = letter if isinstance(whole, Lost) else whole
    details = {
        **_row(letter, done),
        "key": None if shown.key is None else shown.key.decode("utf-8", "backslashreplace"),
        "bytes": letter.size,
        "value": _whereabouts(letter, whole),
        "headers": [
            [_name(name), None if value is None else value.decode("utf-8", "backslashreplace")]
            for name, value in shown.headers
        ],
    }
    if as_json:
        click.echo(msgspec.json.encode(details))
        return
    headers = [(f"header {name}", text(value)) for name, value in details.pop("headers")]
    table(("", ""), [*((name, text(value)) for name, value in details.items()), *headers])


def _name(header: str) -> str:
    """The name of a header, with bytes that are not UTF-8 as escapes."""
    return header.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _whereabouts(letter: Any, whole: Any) -> str:
    """Where the record's value is: the letter may have been too large for its topic."""
    if letter.rejection.value_bytes is None:
        return "in the dead letter"
    from streams.operations.dead_letters import Lost

    return str(whole.value) if isinstance(whole, Lost) else "at its origin"


def _lost(letter: Any, why: Any, settings: Settings) -> str:
    """Why the value of a letter cannot be shown, and what to do."""
    from streams.operations.dead_letters import Lost

    said = letter.rejection
    place = f"{said.topic} partition {said.partition} offset {said.offset}"
    what = (
        f"its record is gone from {place}: it cannot be shown or sent back. Ask its producer for it"
        if why is Lost.GONE
        else f"its record at {place} takes more than the 16 MiB that are read of one: it cannot be shown or sent back. "
        "Kafka's own consumer can read it; have its producer send less"
    )
    return (
        f"dead letter {letter.partition}:{letter.offset} has no value ({letter.size} bytes were too large for "
        f"{settings.dead_topic}), and {what}"
    )


async def _find(settings: Settings, place: tuple[int, int]) -> tuple[Any, Any, set[bytes]]:
    """The dead letter, the same with the record's value (or why there is none), and what has been sent back."""
    from streams.kafka.reading import reader
    from streams.operations.dead_letters import DeadLetterSelection, complete, select, sent_back

    async with reader(settings) as consumer:
        done = await sent_back(consumer, settings)
        async with aclosing(
            select(consumer, settings, DeadLetterSelection(places=frozenset([place])))
        ) as letters:
            found = [letter async for letter in letters]
        if found:
            return found[0], await complete(consumer, found[0]), done
    raise OperatorError(f"there is no dead letter at {place[0]}:{place[1]} in {settings.dead_topic}")
