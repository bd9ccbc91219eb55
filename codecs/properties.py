"""What each property of a Call may hold, beyond what a type can express (semantics, section 2)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias, get_args

from jsonschema_rs import Draft7Validator

from streams.codecs.call import STATUSES, AnsweredBy, Direction

Check: TypeAlias = Callable[[object], str | None]
"""Says what is wrong with a property's value, or None: the rest of a sentence, never quoting the value."""

MAX_DURATION: Final = 2**64 - 1
"""The greatest `duration` that is carried on, in seconds: what MessagePack and most JSON readers can hold."""

_E164: Final = {"pattern": r"^\+[1-9]\d{1,14}$"}
_DATE_TIME: Final = {"format": "date-time"}
_URI: Final = {"format": "uri"}

_KINDS: Final[Mapping[type, str]] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
    bytes: "binary data",
    datetime: "a timestamp",
}


def _validator(schema: dict[str, Any]) -> Callable[[object], bool]:
    return Draft7Validator(schema, validate_formats=True).is_valid


are_valid: Final = _validator({"items": [_E164, _E164, _DATE_TIME, _DATE_TIME, _URI, _URI, _URI]})
"""Whether all of a list of two phone numbers, two times and up to three URIs, each of which may be None, are valid."""


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "of an extension type")


def _string(is_valid: Callable[[str], bool], otherwise: str) -> Check:
    """A check for a string that satisfies `is_valid`."""

    def check(value: object) -> str | None:
        if not isinstance(value, str):
            return f"is {_kind(value)}, not a string"
        return None if is_valid(value) else otherwise

    return check


def _one_of(choices: tuple[str, ...]) -> Check:
    return _string(frozenset(choices).__contains__, f"is none of {', '.join(choices)}")


def _duration(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"is {_kind(value)}, not an integer"
    if value < 0:
        return "is negative"
    if value > MAX_DURATION:
        return "is greater than 64 bits can hold"
    return None if float(value).is_integer() else "is not an integer"


_text: Final = _string(lambda _: True, "")
_number: Final = _string(
    _validator(_E164), "is not a phone number in E.164 form: + and 2 to 15 digits, the first of them not 0"
)
_time: Final = _string(
    _validator(_DATE_TIME), "is not an RFC 3339 date-time: a date, T, a time, and Z or an offset"
)
_uri: Final = _string(_validator(_URI), "is not an absolute RFC 3986 URI")

REQUIRED: Final = ("id", "status", "direction", "from", "to")
"""The properties that every Call has."""

CHECKS: Final[Mapping[str, Check]] = {
    "id": _text,
    "status": _one_of(STATUSES),
    "direction": _one_of(get_args(Direction)),
    "from": _number,
    "to": _number,
    "duration": _duration,
    "start_time": _time,
    "end_time": _time,
    "price": _text,
    "price_unit": _string(lambda text: len(text) == 3, "is not 3 characters long"),
    "recording_url": _uri,
    "url": _uri,
    "status_callback": _uri,
    "answered_by": _one_of(get_args(AnsweredBy)),
}
"""The check of each property that the schema knows, in the order of the schema."""
