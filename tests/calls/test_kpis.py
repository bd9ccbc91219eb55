"""KPI windows, added up by time, direction and country."""

from __future__ import annotations

from decimal import Decimal

from streams.calls.kpis import Kpis, KpiSelection
from streams.calls.money import Charges
from streams.calls.windows import Window, WindowKey

MINUTE = 60_000


def charges(**sums: str) -> Charges:
    found = Charges()
    for currency, charge in sums.items():
        found.move(None, (currency, Decimal(charge)))
    return found


WINDOWS: list[tuple[WindowKey, Window]] = [
    ((0, "inbound", "DE"), Window(attempts=9, answered=1)),
    ((10 * MINUTE, "inbound", "DE"), Window(attempts=4, answered=3, talk_ms=1_001, charges=charges(EUR="0.10"))),
    ((11 * MINUTE, "outbound", "FR"), Window(attempts=2, charges=charges(EUR="0.2", USD="-1"))),
    ((15 * MINUTE, "outbound", "DE"), Window(attempts=1, answered=1, uncharged=1)),
]  # fmt: skip
ALL = KpiSelection(since=10 * MINUTE, slot=5 * MINUTE)


def counted(selection: KpiSelection) -> Kpis:
    found = Kpis.nothing()
    found.add(WINDOWS, selection)
    return found


def test_the_same_windows_are_added_up_in_three_ways() -> None:
    document = counted(ALL).document()
    assert [(row["of"], row["attempts"], row["charges"]) for row in document["slots"]] == [
        (10 * MINUTE, 6, {"EUR": "0.3", "USD": "-1"}),
        (15 * MINUTE, 1, {}),
    ]
    assert [(row["of"], row["attempts"], row["answered"]) for row in document["directions"]] == [
        ("inbound", 4, 3), ("outbound", 3, 1),
    ]  # fmt: skip
    assert [(row["of"], row["attempts"], row["talk_ms"], row["uncharged"]) for row in document["countries"]] == [
        ("DE", 5, 1_001, 1), ("FR", 2, 0, 0),
    ]  # fmt: skip


def test_windows_are_chosen_by_direction_and_country() -> None:
    def attempts(**more: frozenset[str]) -> int:
        found = counted(KpiSelection(since=0, slot=MINUTE, **more))
        return sum(sums.document()["attempts"] for sums in found.slots.values())

    assert attempts() == 16
    assert attempts(directions=frozenset({"outbound"})) == 3
    assert attempts(countries=frozenset({"DE"})) == 14
    assert attempts(directions=frozenset({"outbound"}), countries=frozenset({"DE", "US"})) == 1


def test_what_several_workers_say_adds_up_exactly() -> None:
    found = counted(ALL)
    found.merge(counted(ALL).document())
    document = found.document()
    assert document["slots"][0]["charges"] == {"EUR": "0.6", "USD": "-2"}
    assert [row["attempts"] for row in document["countries"]] == [10, 4]
    nothing = Kpis.nothing()
    nothing.merge(counted(ALL).document())
    assert nothing.document() == counted(ALL).document()
