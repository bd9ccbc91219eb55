"""An independent judge of Call documents: python-jsonschema, with its loose rules written out here."""

import json
import re
from typing import Any, Literal

import jsonschema
from jsonschema import Draft7Validator, FormatChecker

from streams.codecs import call_schema

Verdict = Literal["accepted", "malformed", "schema"]

OPTIONAL = (
    "duration",
    "start_time",
    "end_time",
    "price",
    "price_unit",
    "recording_url",
    "url",
    "status_callback",
)
NULLABLE = (*OPTIONAL, "answered_by")

formats = FormatChecker(formats=())

_date_time = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?"
    r"([Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


@formats.checks("date-time")
def is_date_time(text: object) -> bool:
    """RFC 3339, section 5.6, with the limits of section 5.7."""
    if not isinstance(text, str):
        return True
    match = _date_time.fullmatch(text)
    if match is None:
        return False
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    offset_hour, offset_minute = int(match[10] or 0), int(match[11] or 0)
    if not 1 <= month <= 12 or not 1 <= day <= days_in(year, month) or hour > 23 or minute > 59:
        return False
    if offset_hour > 23 or offset_minute > 59:
        return False
    offset = (offset_hour * 60 + offset_minute) * (-1 if match[9] == "-" else 1)
    in_utc = (hour * 60 + minute - offset) % (24 * 60)
    return second <= 59 or (second == 60 and in_utc == 23 * 60 + 59)


def days_in(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _uri() -> re.Pattern[str]:
    """RFC 3986, appendix A, rule by rule."""
    unreserved, delims = r"A-Za-z0-9\-._~", r"!$&'()*+,;="
    escaped = r"%[0-9A-Fa-f]{2}"
    pchar = rf"(?:[{unreserved}{delims}:@]|{escaped})"
    octet = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    ipv4 = rf"{octet}(?:\.{octet}){{3}}"
    h16 = r"[0-9A-Fa-f]{1,4}"
    ls32 = rf"(?:{h16}:{h16}|{ipv4})"
    ipv6 = "|".join(
        [rf"(?:{h16}:){{6}}{ls32}"]
        + [
            rf"{head}::{tail}"
            for n in range(8)
            for head in [rf"(?:(?:{h16}:){{0,{n - 1}}}{h16})?" if n else ""]
            for tail in [rf"(?:{h16}:){{{5 - n}}}{ls32}" if n <= 5 else h16 if n == 6 else ""]
        ]
    )
    future = rf"[vV][0-9A-Fa-f]+\.[{unreserved}{delims}:]+"
    name = rf"(?:[{unreserved}{delims}]|{escaped})*"
    host = rf"(?:\[(?:{ipv6}|{future})\]|{ipv4}|{name})"
    authority = rf"(?:(?:[{unreserved}{delims}:]|{escaped})*@)?{host}(?::[0-9]*)?"
    path = rf"(?://{authority}(?:/{pchar}*)*|/(?:{pchar}+(?:/{pchar}*)*)?|{pchar}+(?:/{pchar}*)*|)"
    more = rf"(?:{pchar}|[/?])*"
    return re.compile(rf"[A-Za-z][A-Za-z0-9+\-.]*:{path}(?:\?{more})?(?:\#{more})?")


_absolute_uri = _uri()


@formats.checks("uri")
def is_uri(text: object) -> bool:
    return not isinstance(text, str) or _absolute_uri.fullmatch(text) is not None


def _pattern(_validator: object, pattern: str, text: object, _schema: object) -> Any:
    """ECMA 262: `\\d` is ASCII, `$` is the very end."""
    if isinstance(text, str) and not re.search(pattern.replace("$", r"\Z"), text, re.ASCII):
        yield jsonschema.ValidationError("does not match the pattern")


SCHEMA = json.loads(call_schema())
validator = jsonschema.validators.extend(Draft7Validator, {"pattern": _pattern})(
    SCHEMA, format_checker=formats
)


def parse(raw: bytes) -> object:
    """The document that is written in `raw`; raises ValueError or RecursionError if there is none."""
    document = json.loads(raw.decode(), parse_constant=_no_constant, object_pairs_hook=_object)
    _encodable(document)
    return document


def _no_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    _encodable(pairs)  # also what a later duplicate of a name hides
    return dict(pairs)


def _encodable(document: object) -> None:
    """Raises UnicodeEncodeError (a ValueError) if a lone surrogate is in it."""
    json.dumps(document, ensure_ascii=False).encode()


def judge(raw: bytes) -> Verdict:
    """The verdict on a JSON text, by the contract and the choices of `streams.codecs.decoding`."""
    try:
        return judge_document(parse(raw))
    except (ValueError, RecursionError):
        return "malformed"


def judge_document(document: object) -> Verdict:
    if not validator.is_valid(document):
        return "schema"
    assert isinstance(document, dict)
    return "schema" if document.get("duration", 0) > 2**64 - 1 else "accepted"
