"""How a closed call was counted in its KPI window, which its state remembers.

Phone number metadata and currencies change with releases, and an amendment must take back exactly what was added.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from streams.calls.anomalies import OF_HISTORY
from streams.calls.money import charge_of_any_length
from streams.calls.revision import Facts
from streams.calls.state import CallState

#: The country of windows for calls to no known region.
UNKNOWN_COUNTRY: Final = "ZZ"

# Above the anomalies in `history`, where release 0.1 ignores it.
_IS_MARKED: Final = 1 << 16
_IS_CHARGED: Final = 1 << 17
_COUNTRY: Final = 18


class _Marks(dict[str, int]):
    """By country, built on first use; a dictionary, since every revision needs it."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self._bits = bits

    def __missing__(self, country: str) -> int:
        letters = (ord(country[0]) - 64) << 5 | (ord(country[1]) - 64)
        mark = self[country] = self._bits | letters << _COUNTRY
        return mark


_CHARGED: Final = _Marks(_IS_MARKED | _IS_CHARGED)
_NOT_CHARGED: Final = _Marks(_IS_MARKED)


def mark(state: CallState, country: str, found: Facts) -> None:
    """Store in the state of a call how its current revision is counted."""
    marks = _NOT_CHARGED if found.charge is None else _CHARGED
    state.history = state.history & OF_HISTORY | marks[country]


def country_of(state: CallState, found: Facts) -> str:
    """The country under which a closed call is counted."""
    if not state.history & _IS_MARKED:
        return found.to_country or UNKNOWN_COUNTRY
    letters = state.history >> _COUNTRY
    return chr((letters >> 5) + 64) + chr((letters & 31) + 64)


def as_counted(state: CallState, found: Facts) -> Facts:
    """The facts by which a closed call was counted, possibly by other rules than today's."""
    is_marked, is_charged = bool(state.history & _IS_MARKED), bool(state.history & _IS_CHARGED)
    if is_marked and is_charged == (found.charge is not None):
        return found
    amount = None if state.price is None else charge_of_any_length(state.price)
    cost = None if amount is None or state.price_unit is None else (state.price_unit, amount)
    if not is_marked:  # release 0.1 counted every currency, and nothing as uncharged
        return replace(found, charge=cost, uncharged=False)
    return replace(found, charge=cost if is_charged else None, uncharged=not is_charged)
