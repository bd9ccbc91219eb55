"""One setting, and its value in the environment or in a file that a variable names."""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from streams.errors import OperatorError
from streams.settings.kinds import Kind

PREFIX = "TELEFONIE_"
"""The prefix of all variables."""

_MARKS = (BOM_UTF8, BOM_UTF16_LE, BOM_UTF16_BE)
# What Kubernetes adds for a Service called `telefonie…` in the same namespace.
_SERVICE_LINK = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_.*)|(SERVICE_(HOST|PORT.*)|PORT.*)")


class SettingsError(OperatorError):
    """A setting that cannot be used: the message names the variable and what it takes."""


@dataclass(frozen=True)
class Setting:
    """One setting: `name` without the prefix, `default` as text ("" for none)."""

    name: str
    kind: Kind
    default: str
    meaning: str
    secret: bool

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.name

    def show(self, value: Any) -> str:
        """The value as a person may see it; secrets are hidden."""
        if value is None:
            return ""
        if self.secret:
            return "(hidden)"
        # The default as it is documented: 24h, not 1d.
        is_default = self.default and value == self.kind.parse(self.default)
        return self.default if is_default else self.kind.show(value)


def known(variable: str, table: Mapping[str, Setting]) -> Setting:
    """The setting that a variable gives, directly or as a file; raises SettingsError if the table has none."""
    name = variable.removeprefix(PREFIX)
    found = table.get(name) or table.get(name.removesuffix("_FILE"))
    if found:
        return found
    if _SERVICE_LINK.fullmatch(name):
        hint = (
            "Kubernetes sets it for a Service of that name; `enableServiceLinks: false` in the pod "
            "prevents that"
        )
    elif close := get_close_matches(name, table, 1):
        hint = f"did you mean {PREFIX}{close[0]}?"
    else:
        hint = "`telefonie settings` lists all of them"
    raise SettingsError(f"{variable} is not a setting: {hint}")


def parsed(setting: Setting, variable: str, given: str) -> Any:
    """The value that a variable gives a setting; raises SettingsError if the setting does not take it."""
    from_file = variable != setting.variable
    text = _content(variable, given) if from_file else given
    takes = f"{setting.variable} takes {setting.kind.takes}"
    if not text.strip():
        raise SettingsError(f"{f'the file of {variable}' if from_file else variable} is empty: {takes}")
    try:
        return setting.kind.parse(text)
    except ValueError:
        shown = f"the content of {given!r}" if from_file else repr(text[:100])
        raise SettingsError(takes if setting.secret else f"{takes}, not {shown}") from None


def _content(variable: str, path: str) -> str:
    try:
        data = Path(path).read_bytes()
        if data.startswith(_MARKS):
            raise SettingsError(
                f"the file of {variable}, {path!r}, begins with a byte-order mark, which would become "
                "part of the value: save it as UTF-8 without one"
            )
        return data.decode().replace("\r\n", "\n").removesuffix("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise SettingsError(
            f"{variable} takes the path of a readable file, {path!r} is not: {reason}"
        ) from None
