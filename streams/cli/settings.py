"""`telefonie settings`: every setting, with its value, default and meaning."""

import os
import sys

import click
import msgspec

from streams.cli.terminal import Styled, table
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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per setting and line.")
@click.option(
    "--markdown", is_flag=True, help="Print the list without current values, as in docs/settings.md."
)
def settings(as_json: bool, markdown: bool) -> None:
    """Print every setting with its value, default and meaning.

    If the output is not a terminal, columns are separated by tabs. Secrets are not shown.

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
        table(("setting", "value", "meaning"), (_for_people(_row(setting, present)) for setting in TABLE))
    else:
        table((), (list(_row(setting, present).values()) for setting in TABLE))


def reference() -> str:
    """docs/settings.md, generated from the table of settings."""
    return _INTRODUCTION + "".join(_markdown_row(setting) for setting in TABLE)


def _row(setting: Setting, present: Settings) -> dict[str, str]:
    return {
        "name": setting.variable,
        "value": setting.show(getattr(present, setting.name.lower())),
        "default": setting.default,
        "takes": setting.kind.takes,
        "meaning": setting.meaning,
    }


def _for_people(row: dict[str, str]) -> tuple[str, str | Styled, str]:
    """What fits a terminal: the value stands out where it is not the default, which is then told."""
    is_default = row["default"] in ("", row["value"])
    value = row["value"] or "-"
    default = "" if is_default else f" (default {row['default']})"
    return (
        row["name"],
        value if is_default else Styled(value, "bold"),
        f"{row['meaning']}; {row['takes']}{default}",
    )


def _markdown_row(setting: Setting) -> str:
    default = f"`{setting.default}`" if setting.default else "none"
    star = "\\*" if setting.secret else ""
    return f"| `{setting.variable}`{star} | {default} | {setting.kind.takes} | {setting.meaning} |\n"
