"""What waits for its deadline, and what no longer needs to wait."""

from random import Random

import pytest

from streams.calls import deadlines
from streams.calls.deadlines import Deadlines


@pytest.mark.parametrize("seed", range(20))
def test_keys_come_when_they_are_due_in_order_also_if_others_are_dropped(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "_FEW", 5)
    random, due = Random(seed), dict[bytes, int]()
    waiting = Deadlines(100)
    for number in range(300):
        key = b"%d" % number
        due[key] = random.randrange(5_000)
        waiting.add(due[key], key)
        if random.random() < 0.7:
            del due[random.choice(list(due))]
        waiting.prune(len(due), due.get)
    expected = sorted((moment, key) for key, moment in due.items() if moment < 4_000)
    found = []
    assert waiting.first(4_000, due.get) == min(due.values())
    while (item := waiting.pop(4_000, due.get)) is not None:
        found.append(item)
        del due[item[1]]
    assert found == expected
    assert waiting.first(4_000, due.get) is None


def test_what_falls_due_at_once_is_put_in_order_span_by_span() -> None:
    """Else a million calls would hold up everything else, and take as much memory again."""
    due = {b"%d" % number: number for number in range(10_000)}
    waiting = Deadlines(100)
    for key, moment in due.items():
        waiting.add(moment, key)
    assert waiting.pop(20_000, due.get) == (0, b"0")
    assert len(waiting._near) < 100


def test_most_of_what_need_not_wait_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "_FEW", 5)
    due = {b"%d" % number: number for number in range(10_000)}
    waiting = Deadlines(100)
    for key, moment in due.items():
        waiting.add(moment, key)
    for number in range(9_990):
        del due[b"%d" % number]
    for _ in range(200):
        waiting.prune(len(due), due.get)
    assert waiting._far.size < 2 * 10 + 5
    assert waiting.pop(20_000, due.get) == (9_990, b"9990")
