"""What a benchmark found, kept as JSON in `benchmarks/results`.

The tables and plots of docs/performance.md come from these files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

Rows: TypeAlias = list[dict[str, Any]]
"""One for each run; what is a number stays one."""

FOLDER = Path(__file__).with_name("results")

with_record = click.option(
    "--record", metavar="NAME", help="Keep the figures as benchmarks/results/NAME.json."
)


def keep(name: str, options: dict[str, Any], rows: Rows) -> None:
    """Write a file of figures, in place of the one of that name."""
    found = {
        "taken": datetime.now(UTC).isoformat(timespec="minutes"),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "options": options,
        "rows": rows,
    }
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def rows_of(names: Iterable[str], folder: Path = FOLDER) -> Rows:
    """The rows of these files, one after the other. Raises FileNotFoundError when one is missing."""
    return [row for name in names for row in json.loads((folder / f"{name}.json").read_text())["rows"]]


def taken(name: str, folder: Path = FOLDER) -> str:
    """The day on which a file of figures was taken, and the cores of the machine."""
    found = json.loads((folder / f"{name}.json").read_text())
    return f"{found['taken'][:10]}, on {found['cores']} cores"


def show(rows: Rows) -> None:
    """Print them as a table, one column for each name. Raises ClickException when there are none."""
    if not rows:
        raise click.ClickException("nothing was measured")
    table = Table(*(name.replace("_", " ") for name in rows[0]), box=SIMPLE)
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int | float) else str(cell) for cell in row.values()))
    Console(width=200).print(table)
