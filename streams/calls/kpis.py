"""KPI windows added up for those who look at them (not a part of the message path)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeAlias

from streams.calls.money import Charges
from streams.calls.windows import Window, WindowKey

COUNTS: Final = tuple(each.name for each in fields(Window) if each.name != "charges")


@dataclass(frozen=True, kw_only=True)
class KpiSelection:
    """Which windows: those that start at `since` (epoch ms) or later, added up by `slot` ms.

    An empty set of directions or (destination) countries holds for all.
    """

    since: int
    slot: int
    directions: frozenset[str] = frozenset()
    countries: frozenset[str] = frozenset()


@dataclass(slots=True)
class Sums:
    """What some windows add up to; seconds are whole milliseconds."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    charges: Charges = field(default_factory=Charges)

    def add(self, counts: Mapping[str, int], charges: Iterable[tuple[str, Decimal]]) -> None:
        """Add some more."""
        for name in COUNTS:
            self.counts[name] += counts[name]
        for currency, charge in charges:
            self.charges.move(None, (currency, charge))

    def document(self) -> dict[str, Any]:
        """For an answer: the counts, and the charges as exact decimals by currency."""
        return {**self.counts, "charges": self.charges.texts()}


Groups: TypeAlias = dict[str | int, Sums]


class Kpis(NamedTuple):
    """The same windows added up in three ways: by the start of their slot (epoch ms), by direction, by country."""

    slots: Groups
    directions: Groups
    countries: Groups

    @classmethod
    def nothing(cls) -> Kpis:
        """No window yet."""
        return cls({}, {}, {})

    def add(self, windows: Iterable[tuple[WindowKey, Window]], selection: KpiSelection) -> None:
        """Add the windows of a selection."""
        for (start, direction, country), window in windows:
            if (
                start < selection.since
                or (selection.directions and direction not in selection.directions)
                or (selection.countries and country not in selection.countries)
            ):
                continue
            counts = {name: getattr(window, name) for name in COUNTS}
            charges = window.charges.totals()
            for groups, key in (
                (self.slots, start - start % selection.slot),
                (self.directions, direction),
                (self.countries, country),
            ):
                groups.setdefault(key, Sums()).add(counts, charges)

    def merge(self, document: Mapping[str, Any]) -> None:
        """Add what the `document` of other windows says."""
        for groups, name in zip(self, self._fields, strict=True):
            for row in document[name]:
                charges = [(currency, Decimal(text)) for currency, text in row["charges"].items()]
                groups.setdefault(row["of"], Sums()).add(row, charges)

    def document(self) -> dict[str, Any]:
        """For an answer: rows in order, `of` what each is."""
        return {
            name: [
                {"of": key, **sums.document()} for key, sums in sorted(groups.items(), key=lambda row: row[0])
            ]
            for name, groups in zip(self._fields, self, strict=True)
        }
