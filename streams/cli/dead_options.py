"""The options with which commands select dead letters."""

import os
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from streams.cli.options import Moment
from streams.codecs import REASONS


class Place(click.ParamType):
    """The place of a record in its topic: `PARTITION:OFFSET`."""

    name = "partition:offset"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,18})", value)
        if not found:
            self.fail(f"{value!r} is no PARTITION:OFFSET such as 3:1742", param, ctx)
        return int(found[1]), int(found[2])


class Origin(click.ParamType):
    """The place of a record: `PARTITION:OFFSET`, or `TOPIC/PARTITION/OFFSET` as `dead list` shows it."""

    name = "origin"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str | None, int, int]:
        found = re.fullmatch(r"(?:([^/]+)/([0-9]{1,9})/|([0-9]{1,9}):)([0-9]{1,18})", value)
        if not found:
            self.fail(
                f"{value!r} is no PARTITION:OFFSET such as 3:1742, nor TOPIC/PARTITION/OFFSET", param, ctx
            )
        return found[1], int(found[2] or found[3]), int(found[4])


#: From the last to the first, as decorators are applied.
_CHOICES = (
    click.option(
        "--origin",
        "origins",
        type=Origin(),
        multiple=True,
        help="Only records that came from this place (PARTITION:OFFSET, or TOPIC/PARTITION/OFFSET as `dead list` "
        "shows it); repeatable.",
    ),
    click.option(
        "--key", "keys", multiple=True, help="Only records with this key, usually a call id; repeatable."
    ),
    click.option("--path", "paths", multiple=True, help="Only letters with this JSON path; repeatable."),
    click.option(
        "--partition",
        "partitions",
        type=click.IntRange(0),
        multiple=True,
        help="Only letters in this partition; repeatable.",
    ),
    click.option("--until", type=Moment(), help="Only records rejected before this time."),
    click.option(
        "--since",
        type=Moment(),
        help="Only records rejected at or after this time: RFC 3339, or 2h for two hours ago.",
    ),
    click.option(
        "--reason",
        "reasons",
        type=click.Choice(REASONS),
        multiple=True,
        help="Only records rejected for this reason; repeatable.",
    ),
)


def selecting(command: Callable[..., None]) -> Callable[..., None]:
    """The options that select dead letters: the command gets them as `selection`; a letter must match all that are
    given."""

    @wraps(command)
    def selected(
        *,
        reasons: tuple[str, ...],
        since: int | None,
        until: int | None,
        partitions: tuple[int, ...],
        keys: tuple[str, ...],
        paths: tuple[str, ...],
        origins: tuple[tuple[str | None, int, int], ...],
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
