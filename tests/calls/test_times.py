"""Instants against plain rational arithmetic."""

import time
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import jsonschema_rs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.calls import times
from streams.calls.times import elapsed, instant, milliseconds, utc

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
is_valid = jsonschema_rs.Draft7Validator({"format": "date-time"}, validate_formats=True).is_valid


def days_before(year: int) -> int:
    """Days from 0000-01-01 to the first of January of the year."""
    return year * 365 + (year + 3) // 4 - (year + 99) // 100 + (year + 399) // 400


def exact_seconds(text: str) -> Fraction:
    """The oracle: seconds since 1970, read off the text digit by digit."""
    year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    months = [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    days = days_before(year) - days_before(1970) + sum(months[: month - 1]) + day - 1
    seconds = ((days * 24 + int(text[11:13])) * 60 + int(text[14:16])) * 60 + int(text[17:19])
    rest = text[19:].rstrip("zZ")
    offset = 0
    if text[-1] not in "zZ":
        rest, zone = rest[:-6], rest[-6:]
        offset = (int(zone[1:3]) * 60 + int(zone[4:])) * (-60 if zone[0] == "-" else 60)
    fraction = Fraction(int(rest[1:]), 10 ** (len(rest) - 1)) if rest else Fraction(0)
    return seconds - offset + fraction


@st.composite
def date_times(draw: st.DrawFn) -> str:
    """Any valid RFC 3339 text: years 0000 to 9999, any offset, any fraction, leap seconds, either case."""
    minutes = draw(
        st.one_of(
            st.integers(0, days_before(10_000) * 1440 - 1),
            st.integers(0, 1500),
            st.integers(days_before(10_000) * 1440 - 1500, days_before(10_000) * 1440 - 1),
            st.integers(days_before(2026) * 1440, days_before(2027) * 1440),
        )
    )
    days, minute = divmod(minutes, 1440)
    year = next(y for y in range(days // 366, 10_000) if days_before(y + 1) > days)
    day_of_year = datetime(2000 + year % 400, 1, 1) + timedelta(days=days - days_before(year))
    zone = draw(st.one_of(st.sampled_from(["Z", "Z", "z", "+00:00", "-00:00"]), offsets()))
    leap = draw(st.booleans()) and (minute - zone_minutes(zone)) % 1440 == 1439
    second = 60 if leap else draw(st.integers(0, 59))
    fraction = draw(st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,12}", fullmatch=True)))
    letter = draw(st.sampled_from("TTt"))
    clock = f"{minute // 60:02d}:{minute % 60:02d}:{second:02d}"
    return f"{year:04d}-{day_of_year:%m-%d}{letter}{clock}{fraction}{zone}"


def offsets() -> st.SearchStrategy[str]:
    return st.builds(
        lambda sign, minutes: f"{sign}{minutes // 60:02d}:{minutes % 60:02d}",
        st.sampled_from("+-"),
        st.integers(0, 1439),
    )


def zone_minutes(zone: str) -> int:
    return 0 if zone in "Zz" else (int(zone[1:3]) * 60 + int(zone[4:])) * (-1 if zone[0] == "-" else 1)


def leaves_the_years(text: str) -> bool:
    minute = exact_seconds(text[:17] + "00" + text[19:]) // 60 + days_before(1970) * 1440
    return not 0 <= minute < days_before(10_000) * 1440


@given(date_times())
def test_every_generated_text_is_valid(text: str) -> None:
    assert is_valid(text)


@given(st.integers(times._FIRST, times._LAST))
@example(0)
@example(-1)
@example(1_764_041_713_042)
@example(times._FIRST)
@example(times._LAST)
def test_instant_is_the_millisecond_in_utc(ms: int) -> None:
    expected = (EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")
    assert instant(ms) == expected.replace("+00:00", "Z")
    assert instant(ms) == instant(ms)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (2**63 - 1, "9999-12-31T23:59:59.999Z"),
        (times._LAST + 1, "9999-12-31T23:59:59.999Z"),
        (times._FIRST - 1, "0001-01-01T00:00:00.000Z"),
        (-(2**63), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_instant_past_the_years_is_the_nearest_one(ms: int, text: str) -> None:
    assert instant(ms) == text


def test_instant_remembers_a_bounded_number_of_seconds() -> None:
    for second in range(3 * times._SECONDS_REMEMBERED):
        instant(second * 1000)
    assert len(times._seconds) <= times._SECONDS_REMEMBERED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-25T03:35:13Z", "2026-11-25T03:35:13Z"),
        ("2026-11-25t03:35:13.10z", "2026-11-25T03:35:13.10Z"),
        ("2026-11-25T03:35:13.000+01:00", "2026-11-25T02:35:13.000Z"),
        ("2026-11-25T03:35:13-00:00", "2026-11-25T03:35:13Z"),
        ("2024-02-28T23:30:00-01:30", "2024-02-29T01:00:00Z"),
        ("2017-01-01T05:29:60+05:30", "2016-12-31T23:59:60Z"),
        ("0000-03-01T00:00:00+00:01", "0000-02-29T23:59:00Z"),
        ("0400-01-01T00:00:00+00:01", "0399-12-31T23:59:00Z"),
        ("0000-01-01T00:00:00.5+00:01", "0000-01-01T00:00:00.5+00:01"),
        ("9999-12-31t23:59:00-00:01", "9999-12-31t23:59:00-00:01"),
        ("2026-11-25T03:35:13." + "1234567890" * 600 + "+00:01", None),
    ],
)
def test_utc(text: str, expected: str | None) -> None:
    assert utc(text) == (expected or "2026-11-25T03:34:13." + "1234567890" * 600 + "Z")


@given(date_times())
def test_utc_keeps_the_instant_and_the_digits(text: str) -> None:
    moved = utc(text)
    if leaves_the_years(text):
        assert moved == text
    else:
        assert moved[-1] == "Z"
        assert moved[10] == "T"
        assert moved[16:-1] == (text[16:-1] if text[-1] in "zZ" else text[16:-6])
    assert exact_seconds(moved) == exact_seconds(text)
    assert is_valid(moved)
    assert utc(moved) == moved


@given(date_times(), date_times())
@example("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z")
@example("0000-12-31T23:59:60Z", "0001-01-01T00:00:00Z")
@example("2026-11-25T03:35:13.1234567Z", "2026-11-25T03:35:13.12345670Z")
@example("2026-11-25T03:35:13.1234567Z", "2026-11-25T03:35:13.1234568Z")
@example("2026-11-25T03:35:13.0000005Z", "2026-11-25T03:35:13.0005004Z")
def test_elapsed_is_exact_or_the_half_between(start: str, end: str) -> None:
    exact = (exact_seconds(end) - exact_seconds(start)) * 1_000_000
    micros = elapsed(start, end)
    if exact.denominator == 1:
        assert micros == exact
        assert isinstance(micros, int)
    else:
        assert micros == exact // 1 + Fraction(1, 2)
    assert milliseconds(micros) == round(exact / 1000)
    assert elapsed(end, start) == -micros


@given(st.integers(), st.sampled_from([0, Fraction(1, 2), Fraction(-1, 2)]))
@example(500, 0)
@example(1500, 0)
@example(-500, 0)
@example(500, Fraction(1, 2))
@example(500, Fraction(-1, 2))
def test_milliseconds_rounds_half_to_even(micros: int, half: int | Fraction) -> None:
    assert milliseconds(micros + half) == round(Fraction(micros + half, 1000))


def test_a_million_digits_are_compared_in_no_time() -> None:
    start = f"2026-11-25T03:35:13.{'9' * 1_000_000}Z"
    end = f"2026-11-25T03:35:13.{'9' * 999_999}8Z"
    began = time.perf_counter()
    assert elapsed(start, end) == Fraction(-1, 2)
    assert elapsed(end, start) == Fraction(1, 2)
    assert time.perf_counter() - began < 1
