"""The options by which the commands about dead letters choose some of them."""

import os
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from streams.cli.options import Moment
from streams.codecs import REASONS


class Place(click.ParamType):
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
        type=Place(),
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


def selecting(command: Callable[..., None]) -> Callable[..., None]:
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
