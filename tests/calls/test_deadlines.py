"""What waits for its deadline, and what need not wait any more."""

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
    waiting = Deadlines(100, due.get)
    for number in range(300):
        key = b"%d" % number
        due[key] = random.randrange(5_000)
        waiting.add(due[key], key)
        if random.random() < 0.7:
            del due[random.choice(list(due))]
        waiting.prune(len(due))
    expected = sorted((moment, key) for key, moment in due.items() if moment < 4_000)
    found = []
    while (item := waiting.pop(4_000)) is not None:
        found.append(item)
        del due[item[1]]
    assert found == expected


def test_most_of_what_need_not_wait_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "_FEW", 5)
    due = {b"%d" % number: number for number in range(10_000)}
    waiting = Deadlines(100, due.get)
    for key, moment in due.items():
        waiting.add(moment, key)
    for number in range(9_990):
        del due[b"%d" % number]
    for _ in range(200):
        waiting.prune(len(due))
    assert waiting._far.size < 2 * 10 + 5
    assert waiting.pop(20_000) == (9_990, b"9990")
