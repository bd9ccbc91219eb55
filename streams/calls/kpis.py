"""KPI windows added up for display (not part of the message path)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from operator import add, attrgetter
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from streams.calls.money import Charges
from streams.calls.windows import Window, WindowKey

COUNTS: Final = tuple(each.name for each in fields(Window) if each.name != "charges")
_counts: Final = attrgetter(*COUNTS)

K = TypeVar("K")


@dataclass(frozen=True, kw_only=True)
class KpiSelection:
    """Which windows: those that start at `since` (epoch ms) or later, added up by `slot` ms.

    An empty set of directions or (destination) countries stands for all.
    """

    since: int
    slot: int
    directions: frozenset[str] = frozenset()
    countries: frozenset[str] = frozenset()


@dataclass(slots=True)
class Sums:
    """What some windows add up to, in the order of `COUNTS`; seconds are whole milliseconds."""

    counts: list[int] = field(default_factory=lambda: [0] * len(COUNTS))
    charges: Charges = field(default_factory=Charges)

    def add(self, counts: Iterable[int], charges: Iterable[tuple[str, Decimal]]) -> None:
        """Add more windows."""
        self.counts = list(map(add, self.counts, counts))
        for charge in charges:
            self.charges.move(None, charge)

    def document(self) -> dict[str, Any]:
        """For a response: the counts, and the charges as exact decimals by currency."""
        return dict(zip(COUNTS, self.counts, strict=True)) | {"charges": self.charges.texts()}


Groups: TypeAlias = dict[str | int, Sums]


class Kpis(NamedTuple):
    """The same windows added up in three ways: by the start of their slot (epoch ms), by direction, by country."""

    slots: Groups
    directions: Groups
    countries: Groups

    @classmethod
    def nothing(cls) -> Kpis:
        """Start without windows."""
        return cls({}, {}, {})

    def add(self, windows: Iterable[tuple[WindowKey, Window]], selection: KpiSelection) -> None:
        """Add the windows of a selection."""
        # A day has many windows of a slot: they are added up once, not once for each way to look at them.
        cells: dict[WindowKey, Sums] = {}
        for (start, direction, country), window in windows:
            if (
                start < selection.since
                or (selection.directions and direction not in selection.directions)
                or (selection.countries and country not in selection.countries)
            ):
                continue
            cell = (start - start % selection.slot, direction, country)
            _group(cells, cell).add(_counts(window), window.charges.totals())
        for (slot, direction, country), sums in cells.items():
            for groups, key in ((self.slots, slot), (self.directions, direction), (self.countries, country)):
                _group(groups, key).add(sums.counts, sums.charges.totals())

    def merge(self, document: Mapping[str, Any]) -> None:
        """Add what the `document` of other windows says."""
        for groups, name in zip(self, self._fields, strict=True):
            for row in document[name]:
                charges = [(currency, Decimal(text)) for currency, text in row["charges"].items()]
                _group(groups, row["of"]).add([row[count] for count in COUNTS], charges)

    def document(self) -> dict[str, Any]:
        """For a response: rows in order, each with its key under the name `of`."""
        return {
            name: [
                {"of": key, **sums.document()} for key, sums in sorted(groups.items(), key=lambda row: row[0])
            ]
            for name, groups in zip(self._fields, self, strict=True)
        }


def _group(groups: dict[K, Sums], key: K) -> Sums:
    """The sums of a group, none yet for a new one."""
    found = groups.get(key)
    if found is None:
        found = groups[key] = Sums()
    return found
