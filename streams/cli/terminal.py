"""How commands show their results: to people, and to the next program in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from streams.printable import printable

if TYPE_CHECKING:
    from streams.kafka.reading import Progress


def say(text: str, *, err: bool = False) -> None:
    """Print one line, whatever it contains."""
    click.echo(printable(text), err=err)


class Styled(NamedTuple):
    """A cell that stands out on a terminal: `style` is as rich has it, such as `red` or `bold`."""

    cell: str
    style: str


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Styled]]) -> None:
    """Print rows: aligned under their headings on a terminal, separated by tabs elsewhere, each as it comes."""
    if not sys.stdout.isatty():
        for row in rows:
            _print_tabbed(row)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(*columns, box=None, show_header=any(columns), pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        cells = (each if isinstance(each, Styled) else Styled(each, "") for each in row)
        shown.add_row(*(Text(printable(cell), style) for cell, style in cells))
    with Console() as console:
        console.print(shown)


def endless_table(columns: Sequence[str], widths: Sequence[int]) -> Callable[[Iterable[Sequence[str]]], None]:
    """A printer of rows that come by and by, as `table` does: no column can wait for its widest cell."""

    def aligned(row: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    def show(rows: Iterable[Sequence[str]]) -> None:
        for row in rows:
            if sys.stdout.isatty():
                click.echo(aligned([printable(cell) for cell in row]))
            else:
                _print_tabbed(row)

    if sys.stdout.isatty():
        click.secho(aligned(columns), bold=True)
    return show


def _print_tabbed(row: Iterable[str | Styled]) -> None:
    click.echo("\t".join(printable(each.cell if isinstance(each, Styled) else each) for each in row))


def text(value: object) -> str:
    """A value as a cell of a table: `-` for None, yes or no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def counted(counts: Mapping[Any, int]) -> str:
    """Counts as a cell of a table: their sum, and what it is made of."""
    parts = ", ".join(f"{name} {n}" for name, n in counts.items())
    return f"{sum(counts.values())}" + (f" ({parts})" if parts else "")


def fields(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A document as names and cells; a value in an object is named `source.offset`."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, ", ".join(map(str, value)) if isinstance(value, list) else text(value)


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Shows on a terminal how much of a topic has been read."""
    if not sys.stderr.isatty():
        yield lambda _read, _total: None
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
    )
    bar = bars.Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=None)

    def show(read: int, total: int) -> None:
        bar.start()  # once there is something to show; the second time it does nothing
        bar.update(task, completed=read, total=total)

    try:
        yield show
    finally:
        bar.stop()


@contextmanager
def progress_beside_output(what: str) -> Iterator[Progress]:
    """Progress for output that is written as it is found; not shown if that goes to the same terminal."""
    if sys.stdout.isatty():
        yield lambda _read, _total: None
        return
    with progress(what) as shown:
        yield shown
