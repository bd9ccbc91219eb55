"""Instants: Kafka's milliseconds and the producers' RFC 3339 texts, exactly (semantics, sections 4 and 5).

A producer's text remains a text that is only converted to UTC; it becomes a number only to compare two instants. The
functions here take valid `date-time` values and do not validate them again.

The datetime module supports neither the year 0000, nor second 60, nor more than six fraction digits, all of which are
valid. But the calendar repeats every 400 years, an offset is whole minutes, and everything after the minutes is decimal
digits: the slow paths need no more than that.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1)
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)
_CYCLE_YEARS: Final = 400
_CYCLE_SECONDS: Final = 146_097 * 86_400
_FIRST: Final = (datetime(1, 1, 1) - _EPOCH) // _SECOND * 1000
_LAST: Final = (datetime(9999, 12, 31, 23, 59, 59) - _EPOCH) // _SECOND * 1000 + 999

# The longest text that is sure to have no more than six fraction digits: 2026-11-25T03:35:13.123456Z.
_SIX_DIGITS: Final = 27
_MILLISECONDS: Final = tuple(f".{millisecond:03d}Z" for millisecond in range(1000))
_SECONDS_REMEMBERED: Final = 4096
_seconds: dict[int, str] = {}


def instant(ms: int) -> str:
    """The epoch millisecond as RFC 3339 in UTC with three fraction digits: `2026-11-25T03:35:13.042Z`.

    A Kafka timestamp is any 64-bit integer, but RFC 3339 has four digits for the year: a time before the year 0001 or
    after 9999 is written as the first or the last millisecond in between, so that the record stays valid.
    """
    text = _seconds.get(ms // 1000)
    if text is None:
        ms = min(max(ms, _FIRST), _LAST)
        if len(_seconds) >= _SECONDS_REMEMBERED:
            _seconds.clear()
        text = _seconds[ms // 1000] = (_EPOCH + timedelta(seconds=ms // 1000)).isoformat()
    return text + _MILLISECONDS[ms % 1000]


def utc(text: str) -> str:
    """The same instant in UTC with `Z`, with unchanged fraction digits and `:60`.

    An instant whose UTC year would be outside 0000 to 9999 is unchanged (semantics, section 5).
    """
    if text[-1] == "Z" and text[10] == "T":
        return text
    if text[-1] in "Zz":
        return f"{text[:10]}T{text[11:-1]}Z"
    if text.endswith(("+00:00", "-00:00")):
        return f"{text[:10]}T{text[11:-6]}Z"
    moment, years = _minute(text)
    year = moment.year + years
    if not 0 <= year <= 9999:
        return text
    return f"{year:04d}{moment.isoformat()[4:17]}{text[17:-6]}Z"


def elapsed(start: str, end: str) -> int | Fraction:
    """The microseconds from `start` to `end`, negative when `end` is earlier; `:60` is the next second.

    The result is exact if it is a whole number. Otherwise it is the half between the two whole numbers around the exact
    difference: compared with whole numbers, and rounded to milliseconds, it gives the same results as the exact
    difference, without arithmetic on the millions of digits that a text may have.
    """
    if len(start) <= _SIX_DIGITS and len(end) <= _SIX_DIGITS:
        try:
            return (datetime.fromisoformat(end) - datetime.fromisoformat(start)) // _MICROSECOND
        except ValueError:  # the year 0000 or second 60
            pass
    start_micros, start_rest = _micros(start)
    end_micros, end_rest = _micros(end)
    whole = end_micros - start_micros
    if end_rest == start_rest:
        return whole
    return whole + Fraction(1 if end_rest > start_rest else -1, 2)


def elapsed_since(start: int, end: str) -> int | Fraction:
    """The same from an epoch millisecond (as `instant` would write it)."""
    if len(end) <= _SIX_DIGITS and _FIRST <= start <= _LAST:
        try:
            return (datetime.fromisoformat(end) - _EPOCH_UTC) // _MICROSECOND - start * 1000
        except ValueError:
            pass
    return elapsed(instant(start), end)


def milliseconds(micros: int | Fraction) -> int:
    """Microseconds, as `elapsed` counts them, rounded half to even at milliseconds (semantics, section 5)."""
    whole, rest = micros // 1000, micros % 1000
    return whole + 1 if rest > 500 or (rest == 500 and whole & 1) else whole


def _minute(text: str) -> tuple[datetime, int]:
    """The text's minute in UTC, and the years by which it is shifted: whole cycles that bring every year near 2000."""
    year = int(text[:4])
    near = 2000 + year % _CYCLE_YEARS
    minute = datetime(near, int(text[5:7]), int(text[8:10]), int(text[11:13]), int(text[14:16]))
    if text[-1] not in "Zz":
        offset = timedelta(hours=int(text[-5:-3]), minutes=int(text[-2:]))
        minute += offset if text[-6] == "-" else -offset
    return minute, year - near


def _micros(text: str) -> tuple[int, str]:
    """Whole microseconds since the epoch, and the digits beyond them without trailing zeros."""
    minute, years = _minute(text)
    seconds = (minute - _EPOCH) // _SECOND + years // _CYCLE_YEARS * _CYCLE_SECONDS + int(text[17:19])
    digits = text[20 : -1 if text[-1] in "Zz" else -6].rstrip("0")
    return seconds * 1_000_000 + int(digits[:6].ljust(6, "0")), digits[6:]
