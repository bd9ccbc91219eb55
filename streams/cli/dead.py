"""`telefonie dead list`, `dead show` and `dead redrive`."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any

import click
import msgspec

from streams import logs
from streams.calls.times import instant
from streams.cli.options import Moment, json_option
from streams.cli.terminal import progress, say, table, text
from streams.codecs import REASONS, CallDecoder, Rejected
from streams.errors import OperatorError
from streams.settings import Settings

_ON_A_TERMINAL = 50  # dead letters, unless told otherwise
_AT_ONCE = 500  # dead letters
_TRANSFORM_SECONDS = 30.0


class _Place(click.ParamType):
    """Where a record lies in its topic: `PARTITION:OFFSET`."""

    name = "partition:offset"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,18})", value)
        if not found:
            self.fail(f"{value!r} is no PARTITION:OFFSET such as 3:1742", param, ctx)
        return int(found[1]), int(found[2])


#: From the last to the first, as decorators are applied.
_CHOICES = (
    click.option(
        "--origin",
        "origins",
        type=_Place(),
        multiple=True,
        help="Only what came from this place, as the live page and the logs name it; repeatable.",
    ),
    click.option(
        "--key", "keys", multiple=True, help="Only those with this key, mostly a call id; repeatable."
    ),
    click.option("--path", "paths", multiple=True, help="Only those with this JSON path; repeatable."),
    click.option(
        "--partition",
        "partitions",
        type=click.IntRange(0),
        multiple=True,
        help="Only of this partition; repeatable.",
    ),
    click.option("--until", type=Moment(), help="Only those rejected before this."),
    click.option(
        "--since",
        type=Moment(),
        help="Only those rejected from this on: RFC 3339, or 2h for two hours ago.",
    ),
    click.option(
        "--reason",
        "reasons",
        type=click.Choice(REASONS),
        multiple=True,
        help="Only those rejected for this; repeatable.",
    ),
)


def _selecting(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose dead letters: the command is given them as `selection`; all given ones must hold."""

    @wraps(command)
    def selected(
        *,
        reasons: tuple[str, ...],
        since: int | None,
        until: int | None,
        partitions: tuple[int, ...],
        keys: tuple[str, ...],
        paths: tuple[str, ...],
        origins: tuple[tuple[int, int], ...],
        **others: Any,
    ) -> None:
        from streams.operations.dead_letters import DeadLetterSelection

        selection = DeadLetterSelection(
            reasons=frozenset(reasons),
            since=since,
            until=until,
            partitions=frozenset(partitions),
            keys=frozenset(map(os.fsencode, keys)),
            paths=frozenset(paths),
            origins=frozenset(origins),
        )
        command(selection=selection, **others)

    for option in _CHOICES:
        selected = option(selected)
    return selected


@click.group()
def dead() -> None:
    """Look into the dead letters: records that were rejected; and send them back once corrected.

    A dead letter is named by its place, PARTITION:OFFSET, in the topic of dead letters. Earlier releases did not note
    when a record was rejected: for their letters the time of the record counts.

    \b
    Example:
      telefonie dead list --since 2h
      telefonie dead show 3:1742 --value | jq .
      telefonie dead redrive --reason schema --transform 'jq -c "del(.duration)"' --dry-run
    """


@dead.command("list")
@_selecting
@click.option(
    "--limit",
    type=click.IntRange(0),
    help=f"Only the newest so many, 0 for all.  [default: {_ON_A_TERMINAL} on a terminal, else all]",
)
@json_option
def list_(selection: Any, limit: int | None, as_json: bool) -> None:
    """List dead letters with their reasons; never what is in them.

    With a limit, the newest by when they were rejected; without one, partition after partition, as they are read.

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
    from streams.operations.dead_letters import notes, select

    async with reader(settings) as consumer:
        done = await notes(consumer, settings)
        if not limit and (as_json or not sys.stdout.isatty()):
            with _progress_beside_output() as shown:
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


@contextmanager
def _progress_beside_output() -> Iterator[Callable[[int, int], None]]:
    """Progress of what is written as it is found: not on the terminal to which it is written."""
    if sys.stdout.isatty():
        yield lambda _read, _total: None
        return
    with progress("dead letters") as shown:
        yield shown


async def _stream(letters: AsyncIterator[Any], done: set[bytes], as_json: bool) -> None:
    """Write them as they are read, so that any number of them takes no memory."""
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
    """What may be shown of a dead letter to anyone."""
    said = letter.rejection
    return {
        "place": f"{letter.partition}:{letter.offset}",
        "time": _time(letter.timestamp),
        "reason": said.reason,
        "path": said.path,
        "message": said.message,
        "origin": f"{said.topic}/{said.partition}/{said.offset}",
        "redriven": letter.note in done,
        "rejected_at": _time(letter.written),
    }


def _time(ms: int) -> str | None:
    return None if ms < 0 else instant(ms)


@dead.command()
@click.argument("place", type=_Place())
@click.option(
    "--value",
    "only_value",
    is_flag=True,
    help="Write the record's value to stdout, byte for byte, and nothing else.",
)
@json_option
def show(place: tuple[int, int], only_value: bool, as_json: bool) -> None:
    """Show one dead letter: its reason, origin and headers; its value only with --value.

    Key and headers are the record's own and may hold what a call says.

    \b
    Example:
      telefonie dead show 3:1742
      telefonie dead show 3:1742 --value | telefonie validate
    """
    settings = Settings.load(os.environ)
    letter, whole, done = asyncio.run(_find(settings, place))
    if only_value:
        if whole is None:
            raise OperatorError(_gone(letter, settings))
        sys.stdout.buffer.write(whole.value or b"")
        sys.stdout.buffer.flush()
        return
    shown = whole or letter
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
    """The name of a header with the bytes that are not UTF-8 as escapes."""
    return header.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _whereabouts(letter: Any, whole: Any) -> str:
    """Where the record's value is: its topic may not have taken the letter with it."""
    if letter.rejection.value_bytes is None:
        return "in the dead letter"
    return "gone" if whole is None else "at its origin"


def _gone(letter: Any, settings: Settings) -> str:
    said = letter.rejection
    return (
        f"dead letter {letter.partition}:{letter.offset} is without its value ({letter.size} bytes), which "
        f"{settings.dead_topic} could not take, and its record is gone from {said.topic} partition {said.partition} "
        f"offset {said.offset}: it cannot be shown or sent back. Ask its producer for it"
    )


async def _find(settings: Settings, place: tuple[int, int]) -> tuple[Any, Any, set[bytes]]:
    """The dead letter, the same with the record's value (None when that is gone), and what has been sent back."""
    from streams.kafka.reading import reader
    from streams.operations.dead_letters import DeadLetterSelection, complete, notes, select

    async with reader(settings) as consumer:
        done = await notes(consumer, settings)
        async with aclosing(
            select(consumer, settings, DeadLetterSelection(places=frozenset([place])))
        ) as letters:
            found = [letter async for letter in letters]
        if found:
            return found[0], await complete(consumer, found[0]), done
    raise OperatorError(f"there is no dead letter at {place[0]}:{place[1]} of {settings.dead_topic}")


@dead.command()
@click.argument("places", type=_Place(), nargs=-1, metavar="[PARTITION:OFFSET]...")
@_selecting
@click.option("--all", "everything", is_flag=True, help="All dead letters, when nothing else chooses some.")
@click.option("--limit", type=click.IntRange(1), help="At most so many.")
@click.option(
    "--transform",
    metavar="COMMAND",
    help="A shell command that gets each value on stdin and writes the corrected one to stdout.",
)
@click.option(
    "--now-timestamp", is_flag=True, help="Stamp the records with the present time instead of their own."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Send nothing; say of each what would be sent, and whether it is a valid Call.",
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

    Each is sent once: what has been sent back is remembered in the topic {DEAD_TOPIC}-redriven, and left out the
    next time, also when this is killed and run again, or run with another APP_ID. The headers dead-… are removed,
    and redriven-from is added with the place of the dead letter. Keys and timestamps stay as they were. A worker
    reads the record like any other; if it rejects it again, that is a new dead letter.

    A value for which the transform writes nothing stays where it is; a transform that fails ends the redrive. A letter
    without its value, which its topic could not take, is sent as its record lies at its origin; where that is gone, it
    is counted, and the exit code is 1.

    Dead letters that were too-early can be sent back as they are once their time has come. --now-timestamp sends
    one that was too-late as a new event of the present: its call then starts over.

    \b
    Example:
      telefonie dead redrive --reason schema --since 2h --transform 'jq -c "del(.duration)"' --dry-run
      telefonie dead redrive 3:1742 3:1743
    """
    from streams.operations.dead_letters import Correction, DeadLetterSelection

    selection = replace(selection, places=frozenset(places))
    if (selection == DeadLetterSelection()) != everything:
        raise click.UsageError(
            "choose dead letters by place, --reason, --since, --until, --partition, --path, --key or --origin; or --all"
        )
    settings = Settings.load(os.environ)
    logs.configure(settings)
    correction = Correction(transform=_through(transform) if transform else None, stamp_now=now_timestamp)
    if dry_run:
        asyncio.run(_rehearse(settings, selection, correction, limit, as_json))
    else:
        _redrive(settings, selection, correction, limit, as_json)


def _redrive(settings: Settings, selection: Any, correction: Any, limit: int | None, as_json: bool) -> None:
    from streams.operations.dead_letters import Redriven, redrive

    tally = Redriven()
    try:
        with progress("dead letters") as shown:
            asyncio.run(redrive(settings, selection, correction, tally, limit, shown))
    except BaseException:
        if tally.sent:  # what it did before it failed or was interrupted
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
    """Say what a redrive would do; nothing is written, and a redrive that runs goes on."""
    from streams.kafka.reading import reader
    from streams.operations.dead_letters import complete, notes, select

    decoder, shown, gone = CallDecoder(settings.nulls), 0, 0
    with _progress_beside_output() as looked:
        async with reader(settings) as consumer, reader(settings) as origins:
            done = await notes(consumer, settings)
            async with aclosing(select(consumer, settings, selection, looked)) as letters:
                async for letter in letters:
                    if shown == limit:
                        break
                    if letter.note in done:
                        continue
                    whole = await complete(origins, letter)
                    if whole is None:
                        gone += 1
                        continue
                    value = await correction.value(whole)
                    if correction.transform is not None and not value:
                        continue
                    shown += 1
                    done.add(letter.note)
                    _tell(letter, _verdict(decoder, value, whole.headers), as_json)
    click.echo(f"{shown} would be sent back", err=True)
    if gone:
        raise OperatorError(_cannot(gone, settings))


def _verdict(decoder: CallDecoder, value: bytes | None, headers: Any) -> str | None:
    """Why a worker would reject it; None when it is a valid Call."""
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
                f"the transform of {place} failed with exit code {process.returncode}: correct the command, or choose "
                "other dead letters; run again, what was sent is not sent twice"
            )
        return corrected

    return transform
