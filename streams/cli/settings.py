"""`telefonie settings`: every setting, with its value, default and meaning."""

import os
import sys

import click
import msgspec

from streams.printable import printable
from streams.settings import TABLE, Setting, Settings

_INTRODUCTION = """\
# Settings

Settings are environment variables, read once at the start. An unknown `TELEFONIE_*` name, or an empty or ill-typed
value, stops the start with one line that says what is wrong. `telefonie settings` prints this list with the current
values, secrets hidden.

Any setting `NAME` can be given as `NAME_FILE` instead: the path of a file that holds the value, without its final line
end. Secrets are marked with an asterisk. Broker credentials given as files are read again for each connection.
Durations are written `250ms`, `30s`, `5m`, `6h` or `1d`.

| variable | default | takes | meaning |
|---|---|---|---|
"""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per setting and line.")
@click.option("--markdown", is_flag=True, help="The list without present values, as docs/settings.md has it.")
def settings(as_json: bool, markdown: bool) -> None:
    """Print every setting with its value, default and meaning.

    Outside of a terminal the columns are separated by tabs. Secrets are not shown.

    \b
    Example:
      telefonie settings
      TELEFONIE_CALL_TIMEOUT=2h telefonie settings --json | grep CALL_TIMEOUT
    """
    if markdown:
        click.echo(reference(), nl=False)
        return
    present = Settings.load(os.environ)
    if as_json:
        for setting in TABLE:
            click.echo(msgspec.json.encode(_row(setting, present)))
    elif sys.stdout.isatty():
        _print_table(present)
    else:
        for setting in TABLE:
            click.echo("\t".join(map(printable, _row(setting, present).values())))


def reference() -> str:
    """docs/settings.md, written from the table of settings."""
    return _INTRODUCTION + "".join(_markdown_row(setting) for setting in TABLE)


def _row(setting: Setting, present: Settings) -> dict[str, str]:
    return {
        "name": setting.variable,
        "value": setting.show(getattr(present, setting.name.lower())),
        "default": setting.default,
        "takes": setting.kind.takes,
        "meaning": setting.meaning,
    }


def _markdown_row(setting: Setting) -> str:
    default = f"`{setting.default}`" if setting.default else "none"
    star = "\\*" if setting.secret else ""
    return f"| `{setting.variable}`{star} | {default} | {setting.kind.takes} | {setting.meaning} |\n"


def _print_table(present: Settings) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("setting", "value", "meaning", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for setting in TABLE:
        row = _row(setting, present)
        value = Text(printable(row["value"]) or "-")
        if row["default"] not in ("", row["value"]):
            value = Text.assemble((printable(row["value"]), "bold"), f"\n(default {row['default']})")
        table.add_row(Text(row["name"]), value, Text.assemble(row["meaning"], (f"; {row['takes']}", "dim")))
    Console().print(table)
