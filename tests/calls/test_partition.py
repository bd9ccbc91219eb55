"""The processor against the naive model, however the log is cut."""

from random import Random

import msgspec
import pytest
from support import model
from support.calls import generate

from streams.calls.partition import CallsPartition, Rules
from streams.codecs import CallDecoder

_FAR = 1 << 60


def rules_of(chosen: model.Settings) -> Rules:
    return Rules(
        topic=chosen.topic,
        call_timeout=chosen.call_timeout,
        call_retention=chosen.call_retention,
        max_clock_skew=chosen.max_clock_skew,
        kpi_window=chosen.kpi_window,
        decoder=CallDecoder(chosen.nulls),
    )


def stamp(record: model.Record) -> int:
    """The timestamp as Kafka has it."""
    return -1 if record.timestamp is None else record.timestamp


class Outcome:
    """What a run of the processor has published, and the changelog it has written."""

    def __init__(self, chosen: model.Settings) -> None:
        self.rules, self.number = rules_of(chosen), chosen.partition
        self.partition = CallsPartition(self.rules, self.number)
        self.completed: list[tuple] = []
        self.kpis: dict[bytes, bytes] = {}
        self.dead: list[tuple] = []
        self.changelog: dict[bytes, bytes | None] = {}
        self.ledger: bytes | None = None

    def step(self, step: model.Record | model.Idle) -> None:
        if isinstance(step, model.Idle):
            self.partition.advance(step.until)
            self.partition.settle()
            return
        wall = _FAR if step.clock is None else step.clock
        self.partition.process([(step.offset, stamp(step), step.key, step.value, step.headers)], wall)

    def cut(self) -> None:
        cut = self.partition.cut()
        assert not cut.failures, cut.failures
        self.completed += cut.outputs["completed"]
        self.dead += cut.outputs["dead"]
        self.kpis |= {key: value for key, value, *_ in cut.outputs["kpis"]}
        self.changelog |= dict(cut.rows)
        self.ledger = cut.header

    def restart(self) -> None:
        """Die after a cut, and come back from the changelog."""
        self.cut()
        self.partition = CallsPartition(self.rules, self.number)
        self.partition.restore(self.changelog.items())
        self.partition.ready(self.ledger)


def run(chosen: model.Settings, steps: list, random: Random, cutting: float, restarting: float) -> Outcome:
    outcome = Outcome(chosen)
    for step in steps:
        outcome.step(step)
        if random.random() < cutting:
            outcome.cut()
        if random.random() < restarting:
            outcome.restart()
    outcome.cut()
    return outcome


def same_as_model(chosen: model.Settings, steps: list, outcome: Outcome) -> None:
    expected = model.Partition(chosen).run(steps)
    found = [
        model.Completed(key.decode(), msgspec.json.decode(value), timestamp)
        for key, value, timestamp, _ in outcome.completed
    ]
    assert found == expected.completed
    assert [(key, value, ts) for key, value, ts, _ in outcome.dead] == [
        (
            letter.record.key,
            letter.record.value,
            -1 if letter.record.timestamp is None else letter.record.timestamp,
        )
        for letter in expected.dead
    ]
    for (_, _, _, headers), letter in zip(outcome.dead, expected.dead, strict=True):
        said = {name: (value or b"").decode() for name, value in headers if name.startswith("dead-")}
        assert said.pop("dead-path", None) in letter.paths
        assert said.pop("dead-message")
        assert said == letter.headers
    assert {key.decode(): msgspec.json.decode(value) for key, value in outcome.kpis.items()} == expected.kpis
    ledger = outcome.partition.ledger
    assert ledger.read == expected.figures["read"] == ledger.applied + sum(ledger.rejected.values())
    assert ledger.applied == expected.figures["applied"]
    assert {reason: n for reason, n in ledger.rejected.items() if n} == dict(expected.rejected)
    assert ledger.opened == sum(ledger.closed.values()) + len(outcome.partition.open)
    assert sum(ledger.closed.values()) == expected.figures["closed"]
    assert {key.decode() for key in outcome.partition.open} == set(expected.open)


@pytest.mark.parametrize("seed", range(150))
def test_the_fold_says_what_the_model_says(seed: int) -> None:
    random = Random(seed)
    chosen, steps = generate(random, 60)
    cutting, restarting = random.choice([(0.0, 0.0), (1.0, 0.0), (0.2, 0.05), (0.5, 0.5)])
    same_as_model(chosen, steps, run(chosen, steps, random, cutting, restarting))
