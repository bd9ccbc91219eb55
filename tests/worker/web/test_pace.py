"""Looks beside a busy worker take a small part of its time; beside an idle one they do not wait."""

from __future__ import annotations

from math import inf

from streams.worker.web.pace import Pace


class Machine:
    """A clock and the CPU time of the process, both made up."""

    now = used = 0.0
    waiting = 0

    def pace(self) -> Pace:
        return Pace(lambda: self.waiting, lambda: self.now, lambda: self.used)

    def run(self, seconds: float, share: float) -> None:
        self.now += seconds
        self.used += share * seconds


def look(machine: Machine, pace: Pace, cpu: float, beside: float = 0.0) -> None:
    machine.run(cpu, 1.0 + beside)
    pace.spent(cpu)


def test_an_idle_worker_is_looked_at_without_a_rest() -> None:
    machine = Machine()
    pace = machine.pace()
    for _ in range(5):
        machine.run(1, 0.1)
        look(machine, pace, 2.0)  # what looks take themselves does not make it busy
        assert (pace.rest(), pace.budget()) == (0, inf)


def test_looks_take_less_than_a_hundredth_of_a_busy_worker() -> None:
    machine = Machine()
    pace = machine.pace()
    machine.run(2, 0.9)
    assert 0 < pace.budget() < 1
    assert pace.rest() == 0
    begun, looked = machine.now, 0.0
    for _ in range(50):
        machine.run(pace.rest(), 0.9)
        look(machine, pace, pace.budget(), beside=0.9)
        looked += pace.budget()
    assert 0.003 < looked / (machine.now - begun) < 0.006


def test_nobody_waits_for_long_and_a_worker_that_is_idle_again_lets_all_look() -> None:
    machine = Machine()
    pace = machine.pace()
    machine.run(2, 0.9)
    pace.budget()
    look(machine, pace, 3.0, beside=0.9)
    assert pace.rest() == 6
    machine.run(4, 0.1)
    assert pace.rest() == 0


def test_a_worker_that_is_behind_is_busy_though_others_have_taken_its_core() -> None:
    machine = Machine()
    pace = machine.pace()
    machine.waiting = 20_000
    machine.run(2, 0.2)
    assert pace.budget() < 1
    look(machine, pace, 0.02, beside=0.2)
    assert pace.rest() > 2
    machine.waiting = 500
    machine.run(1.5, 0.2)
    assert (pace.rest(), pace.budget()) == (0, inf)
