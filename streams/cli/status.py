"""`telefonie status`."""

from __future__ import annotations

import asyncio
import os
from itertools import groupby
from typing import TYPE_CHECKING

import click
import msgspec

from streams.calls.times import instant
from streams.cli.terminal import Styled, counted, progress, table, text
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.operations.status import GroupStatus, Partition

_COLUMNS = (
    "topic",
    "partition",
    "lag",
    "hidden",
    "skipped",
    "committed",
    "end",
    "stream time",
    "last commit",
    "oldest uncommitted",
)


@click.command()
@click.option(
    "--recount",
    is_flag=True,
    help="Count the open calls in the state one by one, which reads the whole changelog.",
)
@click.option(
    "--accept-skipped",
    is_flag=True,
    help="Accept the records that the group was moved past, so that they no longer count as skipped.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(recount: bool, accept_skipped: bool, as_json: bool) -> None:
    """Show how far the group is, and whether its sums are right.

    Every record that was read is applied or rejected. No record is skipped, as happens if somebody moves the group's
    offsets forward, unless that was accepted. With --recount, every call that was opened is closed or open. The counts
    are part of the committed state, so they cover everything since the beginning, across restarts, and no worker needs
    to run. Exits 1 if one of these equations does not hold.

    \b
    Example:
      telefonie status
      telefonie status --recount --json | jq .equations
      telefonie status --accept-skipped
    """
    from streams import logs
    from streams.operations import status as group
    from streams.operations.acceptance import accept_skipped as accept

    settings = Settings.load(os.environ)
    logs.configure(settings)
    if accept_skipped:
        asyncio.run(accept(settings))
    with progress("state") as shown:
        found = asyncio.run(group.status(settings, recount=recount, progress=shown))
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _show(found)
    if not found.holds:
        raise SystemExit(1)


def _show(found: GroupStatus) -> None:
    opened = (
        str(found.open) if found.recounted else f"{found.open} (opened less closed; --recount counts them)"
    )
    counts: list[tuple[str, str | Styled]] = [
        ("group", found.group),
        ("read", str(found.read)),
        ("applied", str(found.applied)),
        ("rejected", counted(found.rejected)),
        ("opened", str(found.opened)),
        ("closed", f"{counted(found.closed)}, {found.timed_out} of them by timeout"),
        ("open", opened),
    ]
    for each in found.equations:
        verdict = "ok" if each.holds else f"violated: {each.left} and {each.right}"
        counts.append((each.equation, Styled(verdict, "green" if each.holds else "red")))
    table(("", ""), counts)
    for _, partitions in groupby(found.partitions, lambda each: each.topic):
        click.echo()
        _show_partitions(list(partitions))


def _show_partitions(partitions: list[Partition]) -> None:
    rows = [
        (
            each.topic,
            str(each.partition),
            str(each.lag),
            str(each.hidden),
            str(each.skipped),
            text(each.committed),
            str(each.end),
            _time(each.stream_time),
            _time(each.last_commit),
            "-" if each.oldest_uncommitted_seconds is None else f"{each.oldest_uncommitted_seconds:.1f} s",
        )
        for each in partitions
    ]
    table(_COLUMNS, rows)


def _time(ms: int | None) -> str:
    return "-" if ms is None else instant(ms)
