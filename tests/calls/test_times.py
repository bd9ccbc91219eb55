"""Instants against plain rational arithmetic."""

import time
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import jsonschema_rs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import rfc3339

from streams.calls import times
from streams.calls.times import elapsed, elapsed_since, instant, milliseconds, utc

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
is_valid = jsonschema_rs.Draft7Validator({"format": "date-time"}, validate_formats=True).is_valid


@st.composite
def date_times(draw: st.DrawFn) -> str:
    """Any valid RFC 3339 text: years 0000 to 9999, any offset, any fraction, leap seconds, either case."""
    minutes = draw(
        st.one_of(
            st.integers(0, rfc3339.days_before(10_000) * 1440 - 1),
            st.integers(0, 1500),
            st.integers(rfc3339.days_before(10_000) * 1440 - 1500, rfc3339.days_before(10_000) * 1440 - 1),
            st.integers(rfc3339.days_before(2026) * 1440, rfc3339.days_before(2027) * 1440),
        )
    )
    days, minute = divmod(minutes, 1440)
    zone = draw(st.one_of(st.sampled_from(["Z", "Z", "z", "+00:00", "-00:00"]), offsets()))
    second = draw(st.integers(0, 60))
    if second == 60:
        minute = (1439 + rfc3339.offset(zone)) % 1440
    fraction = draw(st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,12}", fullmatch=True)))
    letter = draw(st.sampled_from("TTt"))
    clock = f"{minute // 60:02d}:{minute % 60:02d}:{second:02d}"
    return f"{rfc3339.date(days)}{letter}{clock}{fraction}{zone}"


def offsets() -> st.SearchStrategy[str]:
    return st.builds(
        lambda sign, minutes: f"{sign}{minutes // 60:02d}:{minutes % 60:02d}",
        st.sampled_from("+-"),
        st.integers(0, 1439),
    )


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
    assert instant(ms) == expected.replace("+00:00", "Z") == rfc3339.from_ms(ms)
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
    assert moved == rfc3339.in_utc(text)
    assert rfc3339.seconds(moved) == rfc3339.seconds(text)
    assert rfc3339.fraction(moved) == rfc3339.fraction(text)
    assert is_valid(moved)
    assert utc(moved) == moved


@given(date_times(), date_times())
@example("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z")
@example("0000-12-31T23:59:60Z", "0001-01-01T00:00:00Z")
@example("2026-11-25T03:35:13.1234567Z", "2026-11-25T03:35:13.12345670Z")
@example("2026-11-25T03:35:13.1234567Z", "2026-11-25T03:35:13.1234568Z")
@example("2026-11-25T03:35:13.0000005Z", "2026-11-25T03:35:13.0005004Z")
def test_elapsed_is_exact_or_the_half_between(start: str, end: str) -> None:
    exact = (rfc3339.seconds(end) - rfc3339.seconds(start)) * 1_000_000
    micros = elapsed(start, end)
    if exact.denominator == 1:
        assert micros == exact
        assert isinstance(micros, int)
    else:
        assert micros == exact // 1 + Fraction(1, 2)
    assert milliseconds(micros) == round(exact / 1000)
    assert elapsed(end, start) == -micros


@given(st.integers(-(10**15), 10**15), date_times())
@example(0, "2016-12-31T23:59:60Z")
@example(-(10**20), "0000-12-31T23:59:59Z")
@example(10**20, "2026-11-25T03:35:13.0000005Z")
def test_elapsed_since_a_millisecond_is_elapsed_since_its_text(ms: int, end: str) -> None:
    assert elapsed_since(ms, end) == elapsed(instant(ms), end)


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
    began = time.process_time()
    assert elapsed(start, end) == Fraction(-1, 2)
    assert elapsed(end, start) == Fraction(1, 2)
    assert time.process_time() - began < 1
