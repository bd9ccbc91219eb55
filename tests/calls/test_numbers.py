"""The country of a number is what libphonenumber says, number for number."""

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    NumberParseException,
    PhoneMetadata,
    parse,
    region_code_for_number,
)

from streams.calls.numbers import _KINDS, country

DIGITS = "0123456789"
SHARED = [code for code, regions in COUNTRY_CODE_TO_REGION_CODE.items() if len(regions) > 1]


def library(number: str) -> str | None:
    try:
        region = region_code_for_number(parse(number))
    except NumberParseException:
        return None
    return None if region == "001" else region


def examples() -> Iterator[tuple[int, str]]:
    for code, regions in COUNTRY_CODE_TO_REGION_CODE.items():
        for region in regions:
            metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
            for kind in _KINDS:
                desc = getattr(metadata, kind)
                if desc and desc.example_number:
                    yield code, desc.example_number


def spoilt(random: Random, national: str) -> str:
    """The national number with some digits changed, one too many or too few, or a prefix before it."""
    digits = list(national)
    for _ in range(random.randint(0, 4)):
        digits[random.randrange(len(digits))] = random.choice(DIGITS)
    text = "".join(digits)
    prefix = random.choice(["0", "1", "8", "00", "180020", "1831"])
    return random.choice([text, text, text[:-1], text + random.choice(DIGITS), prefix + text])


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+12125550123", "US"),
        ("+14165550123", "CA"),
        ("+18765550123", "JM"),
        ("+442079460958", "GB"),
        ("+4402079460958", "GB"),
        ("+441481256789", "GG"),
        ("+4915123456789", "DE"),
        ("+78121234567", "RU"),
        ("+77011234567", "KZ"),
        ("+390669812345", "VA"),
        ("+390612345678", "IT"),
        ("+80012345678", None),
        ("+883510000000", None),
        ("+9991234567", None),
        ("+12", None),
        ("+491", None),
        ("+4912", "DE"),
        ("+99912", None),
        ("+15", None),
    ],
)
def test_known_numbers(number: str, expected: str | None) -> None:
    assert country(number) == expected
    assert library(number) == expected


def test_every_calling_code_at_every_length() -> None:
    random = Random(1)
    for code in COUNTRY_CODE_TO_REGION_CODE:
        for length in range(15 - len(str(code)) + 1):
            number = f"+{code}{''.join(random.choices(DIGITS, k=length))}"
            assert country(number) == library(number), number


def test_numbers_of_every_kind_and_what_is_nearly_one() -> None:
    random = Random(2)
    for code, national in examples():
        for text in (national, spoilt(random, national), spoilt(random, national)):
            number = f"+{code}{text}"[:16]
            assert country(number) == library(number), number


def test_numbers_of_the_shared_calling_codes() -> None:
    random = Random(3)
    for code in SHARED:
        for length in (7, 9, 10, 11):
            for _ in range(150):
                number = f"+{code}{''.join(random.choices(DIGITS, k=length))}"
                assert country(number) == library(number), number


@given(st.from_regex(r"\+[1-9][0-9]{1,14}", fullmatch=True))
def test_any_number(number: str) -> None:
    assert country(number) == library(number)
