"""`telefonie completed get` and `completed tail`."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Any

import click
import msgspec

from streams.calls.times import instant
from streams.cli.options import Moment, country_option, json_option
from streams.cli.terminal import endless_table, fields, progress, table, text
from streams.codecs import STATUSES
from streams.errors import OperatorError
from streams.settings import Settings

_LAST = 10


@click.group()
def completed() -> None:
    """Show published completed calls.

    \b
    Example:
      telefonie completed get 0b6f1c1e-8f2e-4d0b-9a41-3d5c3f0f4d77
      telefonie completed tail --follow --status failed
    """


@completed.command()
@click.argument("call_id", metavar="ID")
@click.option(
    "--since",
    type=Moment(),
    help="Only records stamped at or after this time, which is faster: RFC 3339, or 2h for two hours ago.",
)
@json_option
def get(call_id: str, since: int | None, as_json: bool) -> None:
    """Show all revisions of a completed call that are still in the topic.

    Exits 1 if there is none: the call is open (`telefonie calls get` asks the workers), was never seen, or has been
    erased by a tombstone. Kafka compacts the topic: of an older call only the last revision may be left. The partition
    in which the call is expected is read from its beginning, or from --since; the others only if it is not there.

    \b
    Example:
      telefonie completed get 0b6f1c1e-8f2e-4d0b-9a41-3d5c3f0f4d77 --since 2d
      telefonie completed get 0b6f1c1e-8f2e-4d0b-9a41-3d5c3f0f4d77 --json | jq -s 'last.price'
    """
    settings = Settings.load(os.environ)
    found, tombstone = asyncio.run(_get(settings, os.fsencode(call_id), since))
    if tombstone is not None:
        raise OperatorError(
            f"this call has been erased: {settings.completed_topic} has a tombstone for it in partition "
            f"{tombstone.partition} at offset {tombstone.offset}, written {instant(tombstone.timestamp)}"
        )
    if not found:
        what = (
            "no completed call with this id" if since is None else f"none with this id since {instant(since)}"
        )
        raise OperatorError(f"{settings.completed_topic} holds {what}")
    if as_json:
        _write(found)
        return
    table(("", ""), fields(msgspec.json.decode(found[-1].value)))
    click.echo()
    table(_HEADS, map(_row, found))


async def _get(settings: Settings, key: bytes, since: int | None) -> Any:
    from streams.kafka import reading
    from streams.operations.completed_calls import history

    async with reading.reader(settings) as consumer:
        with progress("completed calls") as shown:
            return await history(consumer, settings, key, since, shown)


@completed.command()
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1),
    default=_LAST,
    show_default=True,
    help="How many calls to show.",
)
@click.option(
    "-f",
    "--follow",
    "following",
    is_flag=True,
    help="Continue with what is published from now on, until Ctrl-C.",
)
@click.option(
    "--status",
    "statuses",
    type=click.Choice(STATUSES),
    multiple=True,
    help="Only calls with this status; repeatable.",
)
@country_option
@click.option(
    "--since", type=Moment(), help="Only revisions at or after this time: RFC 3339, or 2h for two hours ago."
)
@json_option
def tail(
    lines: int,
    following: bool,
    statuses: tuple[str, ...],
    countries: tuple[str, ...],
    since: int | None,
    as_json: bool,
) -> None:
    """Show the latest completed calls, oldest first; with --json the records as they are.

    Each line is one revision. Times are event times.

    \b
    Example:
      telefonie completed tail --follow --country DE
      telefonie completed tail --lines 1000 --since 1h --json | jq .price
    """
    from streams.operations.completed_calls import CompletedSelection

    selection = CompletedSelection(statuses=frozenset(statuses), countries=frozenset(countries), since=since)
    try:
        asyncio.run(_tail(Settings.load(os.environ), selection, lines, following, as_json))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


async def _tail(settings: Settings, selection: Any, lines: int, following: bool, as_json: bool) -> None:
    from streams.kafka import reading
    from streams.operations.completed_calls import follow
    from streams.operations.completed_calls import tail as last_of

    async with reading.reader(settings) as consumer:
        with progress("completed calls") as shown:
            found, ends = await last_of(consumer, settings, selection, lines, shown)
        show = _write if as_json else _table()
        show(found)
        if following:
            async with aclosing(follow(consumer, ends, selection)) as more:
                async for each in more:
                    show([each])


def _table() -> Callable[[Iterable[Any]], None]:
    show = endless_table(_HEADS, _WIDTHS)
    return lambda found: show(map(_row, found))


def _write(found: Iterable[Any]) -> None:
    """The records as they are in the topic, one per line: in JSON, a line end outside a string is white space."""
    for each in found:
        sys.stdout.buffer.write(each.value.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n")
    sys.stdout.buffer.flush()


_WIDTHS = (24, 36, 3, 11, 9, 4, 2, 9, 14, 0)
_HEADS = ("time", "id", "rev", "status", "closed by", "from", "to", "talk s", "price", "anomalies")


def _row(found: Any) -> list[str]:
    """A revision in one line, without phone numbers."""
    call = found.call
    price = None if call.price is None else " ".join(filter(None, (call.price, call.price_unit)))
    cells = [
        instant(found.timestamp),
        call.id,
        call.revision,
        call.status,
        call.closed_by,
        call.from_country,
        call.to_country,
        call.talk_seconds,
        price,
        ",".join(call.anomalies or ()) or None,
    ]
    return [text(cell) for cell in cells]
