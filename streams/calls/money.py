"""Money: which prices and currencies are valid, and exact sums of them (semantics, sections 5 and 6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, FloatOperation, Inexact, InvalidOperation
from functools import lru_cache
from typing import Final, TypeAlias

_is_price: Final = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?").fullmatch

# The default context silently rounds to 28 digits; this one has room for every price that a record can carry, and would
# raise rather than round.
_EXACT: Final = Context(
    prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation, FloatOperation]
)

Charge: TypeAlias = tuple[str, Decimal]
"""Currency and amount; the amount is minus a price."""

ACTIVE_CURRENCIES: Final = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF
    CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP
    GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT
    LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR
    NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN
    SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAD
    XAF XAG XAU XBA XBB XBC XBD XCD XCG XDR XOF XPD XPF XPT XSU XTS XUA XXX YER ZAR ZMW ZWG
    """.split()  # noqa: SIM905
)
"""The 178 codes of ISO 4217 list one (current currencies and funds), as published on 2026-09-17.

The list is complete, with its fund codes, precious metals, units of account, the testing code XTS, and XXX for "no
currency": they are active codes. Withdrawn codes are not in it: BGN (euro since 2026), ANG (now XCG), HRK, SLL (now
SLE), ZWL (now ZWG), CUC and earlier ones.
"""


def charge(price: str) -> Decimal | None:
    """The charge for a call: minus its `price`, exactly.

    None when the price is invalid: not `[+-]?[0-9]{1,18}(\\.[0-9]{1,18})?` in ASCII (semantics, section 5).
    """
    return _common_charge(price) if len(price) <= _LONGEST_COMMON else _charge(price)


def charge_of_any_length(price: str) -> Decimal | None:
    """Like `charge`, for a price with any number of digits: what release 0.1 counted."""
    return Decimal(price).copy_negate() if _is_decimal(price) else None


_is_decimal: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?").fullmatch


def _charge(price: str) -> Decimal | None:
    return Decimal(price).copy_negate() if _is_price(price) else None


# Minutes times tariff: there are few different prices.
_LONGEST_COMMON: Final = 16
_common_charge: Final = lru_cache(1 << 10)(_charge)


class Charges:
    """Exact sums of charges, per currency (semantics, section 6).

    A charge is minus a price. A currency is present as long as it has a charge: taking the last one back removes the
    entry. Sums never round and never pass through a binary float. A currency may be any text.
    """

    __slots__ = ("_sums",)

    def __init__(self, state: Mapping[str, tuple[int, str]] | None = None) -> None:
        """Start empty, or from what `state` returned."""
        self._sums = {currency: (count, Decimal(text)) for currency, (count, text) in (state or {}).items()}

    def move(self, old: Charge | None, new: Charge | None) -> None:
        """Take back a charge that was added before, and add another; if anything raises, nothing is changed.

        If its currency has no charge, nothing is taken back.
        """
        if old is None and new is not None:  # the common case, in half the time
            count, total = self._sums.get(new[0], _NOTHING)
            self._sums[new[0]] = count + 1, _EXACT.add(total, new[1])
            return
        sums = {}
        if old is not None and old[0] in self._sums:
            count, total = self._sums[old[0]]
            sums[old[0]] = count - 1, _EXACT.subtract(total, old[1])
        if new is not None:
            count, total = sums.get(new[0]) or self._sums.get(new[0], _NOTHING)
            sums[new[0]] = count + 1, _EXACT.add(total, new[1])
        for currency, (count, total) in sums.items():
            if count:
                self._sums[currency] = count, total
            else:
                del self._sums[currency]

    def texts(self) -> dict[str, str]:
        """Currency to charge, an exact decimal without exponent or trailing zeros; currencies are sorted."""
        return {currency: _plain(total) for currency, (_, total) in sorted(self._sums.items())}

    def totals(self) -> list[tuple[str, Decimal]]:
        """Each currency and its charge."""
        return [(currency, total) for currency, (_, total) in list(self._sums.items())]

    def state(self) -> dict[str, tuple[int, str]]:
        """What a codec can store: currency to number of charges and their sum. `Charges(state)` is the inverse."""
        return {currency: (count, _plain(total)) for currency, (count, total) in sorted(self._sums.items())}


_NOTHING: Final = (0, Decimal())


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
