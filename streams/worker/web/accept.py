"""Which kind of answer a client prefers (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

_RANGE: Final = re.compile(r"\s*([^\s/;,]+)/([^\s/;,]+)\s*")
_WEIGHT: Final = re.compile(r"\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)


def preferred(accept: str, kinds: Sequence[str]) -> str:
    """The media type of `kinds` that an `Accept` header prefers.

    Of equals that which it names more exactly, then the first; and the first when none is acceptable, which says more
    than a 406. Parameters other than `q` are not looked at.
    """
    ranges = list(_ranges(accept))

    def rank(kind: str) -> tuple[float, int]:
        found = [(exact, weight) for exact, weight in (_matched(kind, each) for each in ranges) if exact]
        exact, weight = max(found, default=(0, 0.0))
        return (weight, exact) if weight else (0.0, 0)

    return max(kinds, key=rank)


def _ranges(accept: str) -> Iterator[tuple[str, str, float]]:
    for item in accept.split(","):
        kind, *parameters = item.split(";")
        if (found := _RANGE.fullmatch(kind)) is None:
            continue
        weights = [each for each in map(_WEIGHT.fullmatch, parameters) if each]
        yield found[1].lower(), found[2].lower(), float(weights[0][1]) if weights else 1.0


def _matched(kind: str, given: tuple[str, str, float]) -> tuple[int, float]:
    """How exactly a range names a media type (0: not at all), and its weight."""
    main, _, sub = kind.partition("/")
    if given[:2] == (main, sub):
        return 3, given[2]
    if given[:2] == (main, "*"):
        return 2, given[2]
    return (1, given[2]) if given[:2] == ("*", "*") else (0, 0.0)
