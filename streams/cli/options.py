"""Options that several commands take."""

import time
from datetime import UTC, datetime
from typing import Any

import click

from streams.settings import parse_duration

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
_NOT_ISO = {"UK": "GB", "EL": "GR"}


class Country(click.ParamType):
    """A region of phone numbers, as libphonenumber defines them: mostly ISO 3166-1 alpha-2, case-insensitive."""

    name = "country"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from phonenumbers import SUPPORTED_REGIONS

        code = str(value).upper()
        if code not in SUPPORTED_REGIONS:
            hint = (
                f": the code is {_NOT_ISO[code]}"
                if code in _NOT_ISO
                else " that phone numbers have, such as DE"
            )
            self.fail(f"{value!r} is no country code{hint}", param, ctx)
        return code


country_option = click.option(
    "--country",
    "countries",
    type=Country(),
    multiple=True,
    metavar="CODE",
    help="Only calls from or to this country (such as DE); repeatable.",
)


class Duration(click.ParamType):
    """A duration such as `90s` or `2h`, in milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_duration(value)
        except ValueError:
            self.fail(f"{value!r} is no duration such as 90s, 2h or 7d", param, ctx)


class Moment(click.ParamType):
    """A time in epoch milliseconds: RFC 3339 (UTC unless it has an offset), or a duration, which means that long
    ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return time.time_ns() // 1_000_000 - parse_duration(value)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(value)
            return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        except ValueError:
            self.fail(
                f"{value!r} is neither a time such as 2026-11-25T03:35:00Z nor a duration such as 2h",
                param,
                ctx,
            )
