"""Exact sums of money against fractions."""

from decimal import Decimal, InvalidOperation
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.calls.money import ACTIVE_CURRENCIES, Charges, charge

prices = st.from_regex(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?", fullmatch=True)
entries = st.tuples(st.sampled_from(["EUR", "USD", "xx?"]), prices)


def cost(price: str) -> Decimal:
    found = charge(price)
    assert found is not None
    return found


@pytest.mark.parametrize("text", ["0", "-0.0075", "+1", "007.10", "9" * 18, "-0." + "9" * 18, "-0"])
def test_a_decimal_is_a_price(text: str) -> None:
    assert charge(text) == Decimal(text).copy_negate()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        ".5",
        "5.",
        "1e3",
        "NaN",
        "1_000",
        " 1",
        "1\n",
        "1,5",
        "--1",
        "٣",
        "0x1",
        "Infinity",
        "1.2.3",
        "1" * 19,
        "0." + "1" * 19,
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert charge(text) is None


def test_the_active_currencies_are_list_one() -> None:
    assert len(ACTIVE_CURRENCIES) == 178
    assert {"USD", "EUR", "GBP", "XCG", "SLE", "ZWG", "VED", "XAD", "XXX", "XTS", "CHE"} <= ACTIVE_CURRENCIES
    assert not {"BGN", "HRK", "ANG", "SLL", "ZWL", "CUC", "usd", "Eur", "DEM", "ABC"} & ACTIVE_CURRENCIES


@pytest.mark.parametrize(
    ("added", "text"),
    [
        (["-0.0120", "-0.0080"], "0.02"),
        (["-0.0075"], "0.0075"),
        (["5", "5.50"], "-10.5"),
        (["-100"], "100"),
        (["-100.00"], "100"),
        (["0"], "0"),
        (["-0.00"], "0"),
        (["1.5", "-1.5"], "0"),
        (["-0.1"] * 10, "1"),
        (["-0.000000000000000001", "-1" + "0" * 17], "1" + "0" * 17 + ".000000000000000001"),
    ],
)
def test_charges_are_minus_the_sum_without_exponent_or_trailing_zeros(added: list[str], text: str) -> None:
    charges = Charges()
    for price in added:
        charges.move(None, ("EUR", cost(price)))
    assert charges.texts() == {"EUR": text}


@given(st.lists(entries, max_size=12), st.randoms(use_true_random=False))
def test_charges_are_exact_whatever_is_taken_back(added: list[tuple[str, str]], random: object) -> None:
    charges = Charges()
    for entry in added:
        charges.move(None, (entry[0], cost(entry[1])))
    kept = list(added)
    random.shuffle(kept)  # type: ignore[attr-defined]
    while len(kept) > len(added) // 2:
        currency, price = kept.pop()
        charges.move((currency, cost(price)), None)
    texts = charges.texts()
    assert set(texts) == {currency for currency, _ in kept}
    for currency, text in texts.items():
        assert Fraction(text) == -sum(Fraction(price) for name, price in kept if name == currency)
        assert "e" not in text.lower()
        assert text != "-0"
        assert "." not in text or text[-1] not in ".0"


@given(st.lists(entries, max_size=6), entries)
def test_the_state_is_plain_and_comes_back_whole(added: list[tuple[str, str]], one: tuple[str, str]) -> None:
    charges = Charges()
    for entry in added:
        charges.move(None, (entry[0], cost(entry[1])))
    wire = msgspec.msgpack.encode(charges.state())
    back = Charges(msgspec.msgpack.decode(wire, type=dict[str, tuple[int, str]]))
    assert back.state() == charges.state()
    assert msgspec.msgpack.encode(back.state()) == wire
    for both in charges, back:
        both.move(None, (one[0], cost(one[1])))
    assert back.texts() == charges.texts()


def test_a_currency_that_holds_nothing_has_nothing_to_take_back() -> None:
    charges, euro = Charges(), ("EUR", cost("1"))
    charges.move(None, euro)
    charges.move(euro, None)
    assert charges.texts() == {}
    assert charges.state() == {}
    charges.move(euro, ("USD", cost("2")))
    assert charges.texts() == {"USD": "-2"}


def test_a_move_is_done_whole_or_not_at_all() -> None:
    charges, euro = Charges(), ("EUR", cost("1"))
    charges.move(None, euro)
    for currency in ("EUR", "USD"):
        with pytest.raises(InvalidOperation):
            charges.move(euro, (currency, Decimal("sNaN")))
        assert charges.state() == {"EUR": (1, "-1")}
    charges.move(euro, ("EUR", cost("3")))
    assert charges.state() == {"EUR": (1, "-3")}


def test_a_sum_may_grow_past_all_its_prices() -> None:
    charges = Charges()
    for _ in range(1_000):
        charges.move(None, ("EUR", cost("-" + "9" * 18 + "." + "9" * 18)))
    assert charges.texts() == {"EUR": "9" * 18 + "999." + "9" * 15}
