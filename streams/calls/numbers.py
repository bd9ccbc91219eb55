"""The country of a telephone number, as libphonenumber says, for a thirtieth of what it costs there.

An E.164 number needs little of what `phonenumbers` does. Its calling code decides alone, unless several
regions share it (+1, +7, +44 and nine more); then the first region decides whose leading digits, or else
whose numbering plan, fit the rest. Both are compiled here, at import, from the metadata of the installed
library: a table of calling codes, and one regular expression for each shared one. What they leave open is
asked of the library. The last few thousand numbers are remembered: a call asks again at each revision.
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
# From this length on two digits follow the longest calling code; with fewer the library refuses to parse.
_PARSED: Final = len("+") + 3 + 2
_REMEMBERED: Final = 1 << 13
# The kinds of numbers that a numbering plan knows, the common ones first.
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
    """The ISO 3166-1 alpha-2 region of an E.164 number; None where libphonenumber knows none or says `001`.

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
    """First three digits of a number -> its region, or what tells apart those that share its calling code."""
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
    """A pattern whose matching group is named after the region; none of them when no region fits.

    It does not match at all where the library would first strip a national prefix, such as the 0 in +44 020.
    """
    plans = [(name, PhoneMetadata.metadata_for_region(name)) for name in names]
    branches = "|".join(f"(?P<{name}>{_plan(metadata)})" for name, metadata in plans)
    return rf"\+{code}{_unprefixed(plans[0][1])}(?:{branches}|[0-9]*)"


def _unprefixed(main: Any) -> str:
    """What holds of a number that the library parses as it stands, by the metadata of the main region.

    The prefix is left alone, too, where it belongs to a number that fits the plan only with it.
    """
    prefix, whole = main.national_prefix_for_parsing, main.general_desc.national_number_pattern
    if not prefix:
        return ""
    if main.national_prefix_transform_rule:
        return f"(?!{prefix})"
    return rf"(?:(?!{prefix})|(?=(?:{whole})\Z)(?!(?>{prefix})(?:{whole})\Z))"


def _plan(metadata: Any) -> str:
    """What holds of a number of the region."""
    if metadata.leading_digits is not None:
        return f"(?:{metadata.leading_digits})[0-9]*"
    kinds = [desc for kind in _KINDS if (desc := getattr(metadata, kind)) and desc.national_number_pattern]
    return rf"(?={_fits(metadata.general_desc)}\Z)(?:{'|'.join(dict.fromkeys(map(_fits, kinds)))})"


def _fits(desc: Any) -> str:
    """What holds of a number that fits the description: its pattern, and one of its lengths if it has any."""
    lengths = "|".join(f"[0-9]{{{length}}}" for length in desc.possible_length) or "[0-9]*"
    return rf"(?=(?:{lengths})\Z)(?:{desc.national_number_pattern})"


_REGIONS: Final = _regions()
