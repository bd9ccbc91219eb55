"""The country of a phone number according to libphonenumber, at a thirtieth of its cost.

An E.164 number needs little of what `phonenumbers` does. Its calling code alone decides, unless several regions share
it (+1, +7, +44 and nine more); then it is the first region whose leading digits, or else whose numbering plan, match
the rest. Both are compiled here, at import, from the metadata of the installed library: a table of calling codes, and
one regular expression for each shared code. The library is called for what they leave open. The last few thousand
numbers are cached, since each revision of a call looks them up again.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    NumberParseException,
    PhoneMetadata,
    parse,
    region_code_for_number,
)

_WORLD: Final = "001"
# From this length on, two digits follow the longest calling code; with fewer, the library refuses to parse.
_PARSED: Final = len("+") + 3 + 2
_REMEMBERED: Final = 1 << 13
# The kinds of numbers in a numbering plan, common ones first.
_KINDS: Final = (
    "fixed_line",
    "mobile",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
)


@lru_cache(_REMEMBERED)
def country(number: str) -> str | None:
    """The ISO 3166-1 alpha-2 region of an E.164 number; None if libphonenumber knows none, or says `001`.

    It is what `phonenumbers.region_code_for_number(phonenumbers.parse(number))` says (semantics, section 5).
    """
    if len(number) < _PARSED:
        return _ask(number)
    region = _REGIONS.get(number[1:4])
    if region is None or isinstance(region, str):
        return region
    match = region.fullmatch(number)
    return match.lastgroup if match else _ask(number)


def _ask(number: str) -> str | None:
    try:
        region = region_code_for_number(parse(number))
    except NumberParseException:
        return None
    return None if region == _WORLD else region


def _regions() -> dict[str, str | re.Pattern[str]]:
    """First three digits of a number to its region, or to what distinguishes those that share its calling code."""
    regions: dict[str, str | re.Pattern[str]] = {}
    for code, names in COUNTRY_CODE_TO_REGION_CODE.items():
        if names == (_WORLD,):
            continue
        region = names[0] if len(names) == 1 else re.compile(_shared(code, names))
        following = 10 ** (3 - len(str(code)))
        for digits in range(code * following, (code + 1) * following):
            regions[str(digits)] = region
    return regions


def _shared(code: int, names: tuple[str, ...]) -> str:
    """A pattern whose matching group is named after the region; no group matches if no region fits.

    It does not match at all if the library would first strip a national prefix, such as the 0 in +44 020.
    """
    plans = [(name, PhoneMetadata.metadata_for_region(name)) for name in names]
    branches = "|".join(f"(?P<{name}>{_plan(metadata)})" for name, metadata in plans)
    return rf"\+{code}{_unprefixed(plans[0][1])}(?:{branches}|[0-9]*)"


def _unprefixed(main: Any) -> str:
    """A pattern for numbers that the library parses unchanged, by the metadata of the main region.

    It also leaves the prefix alone if the number fits the plan only with it.
    """
    prefix, whole = main.national_prefix_for_parsing, main.general_desc.national_number_pattern
    if not prefix:
        return ""
    if main.national_prefix_transform_rule:
        return f"(?!{prefix})"
    return rf"(?:(?!{prefix})|(?=(?:{whole})\Z)(?!(?>{prefix})(?:{whole})\Z))"


def _plan(metadata: Any) -> str:
    """A pattern for numbers of the region."""
    if metadata.leading_digits is not None:
        return f"(?:{metadata.leading_digits})[0-9]*"
    kinds = [desc for kind in _KINDS if (desc := getattr(metadata, kind)) and desc.national_number_pattern]
    return rf"(?={_fits(metadata.general_desc)}\Z)(?:{'|'.join(dict.fromkeys(map(_fits, kinds)))})"


def _fits(desc: Any) -> str:
    """A pattern for numbers that match the description: its own pattern, and one of its lengths if it has any."""
    lengths = "|".join(f"[0-9]{{{length}}}" for length in desc.possible_length) or "[0-9]*"
    return rf"(?=(?:{lengths})\Z)(?:{desc.national_number_pattern})"


_REGIONS: Final = _regions()
