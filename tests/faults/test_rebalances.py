"""Workers coming and going under load.

Plain Faust is known to crash and to repeat events on a rebalance with exactly-once, and to process events twice after
an ordinary one.
"""

import time
from contextlib import ExitStack
from pathlib import Path
from random import Random
from signal import SIGTERM

import pytest
from support.inject import config, slow
from support.load import produce_calls, producing
from support.worker import (
    Setup,
    Worker,
    check_at_least_once,
    check_exactly_once,
    wait_for,
    wait_until_done,
)

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    ("static", "rounds"),
    [
        (False, 3),
        pytest.param(False, 12, marks=pytest.mark.slow),
        pytest.param(True, 12, marks=pytest.mark.slow),
    ],
)
def test_workers_join_and_leave_every_few_seconds(
    kafka: str, tmp_path: Path, seed: int, chance: Random, static: bool, rounds: int
) -> None:
    setup = Setup(kafka, partitions=6, settings={"SESSION_TIMEOUT": "3s"})
    setup.create()

    def start(number: int) -> Worker:
        env = {"INSTANCE_ID": f"w{number}"} if static else {}
        return Worker(setup, tmp_path / f"log-{number}", env=env)

    with (
        ExitStack() as running,
        producing(kafka, setup.calls, 1_000 * rounds, seed, seconds=4 * rounds) as sending,
    ):
        workers = [running.enter_context(start(number)) for number in range(2)]
        for number in range(2, 2 + rounds):
            time.sleep(chance.uniform(1, 3))
            workers.append(running.enter_context(start(number)))
            time.sleep(chance.uniform(1, 3))
            leaver = workers.pop(chance.randrange(len(workers)))
            wait_for("it hears signals", lambda leaver=leaver: "HTTP is at" in leaver.said())
            assert leaver.terminate() == 0, leaver.said()[-3000:]
        wait_until_done(setup, sending)
        for worker in workers:
            assert worker.terminate() == 0, worker.said()[-3000:]
    check_exactly_once(setup)
    check_at_least_once(setup)


def test_rebalances_in_the_middle_of_a_recovery(
    kafka: str, tmp_path: Path, seed: int, chance: Random
) -> None:
    """A recovery is interrupted and started again; what was kept before the first is still right after the last."""
    setup = Setup(kafka, partitions=6, settings={"SESSION_TIMEOUT": "3s"})
    setup.create()
    late = slow("streams.engine.engine:restore", 1.5)
    with ExitStack() as running, producing(kafka, setup.calls, 2_000, seed, seconds=12) as sending:
        workers = [running.enter_context(Worker(setup, tmp_path / "first", before=late))]
        wait_for("work", workers[0].assignments)
        for number in range(3):
            workers.append(running.enter_context(Worker(setup, tmp_path / f"{number}", before=late)))
            time.sleep(chance.uniform(0.8, 2))
        workers.pop(1).kill()
        time.sleep(chance.uniform(2, 4))
        leaver = workers.pop(1)
        wait_for("it hears signals", lambda: "HTTP is at" in leaver.said())
        assert leaver.terminate() == 0
        wait_until_done(setup, sending)
        for worker in workers:
            assert worker.terminate() == 0, worker.said()[-3000:]
    check_exactly_once(setup)


def test_a_recovery_may_take_longer_than_a_member_may_be_idle(kafka: str, tmp_path: Path, seed: int) -> None:
    """aiokafka leaves the group for a member that does not fetch, and joins it again only once that does."""
    setup = Setup(kafka, settings={"SESSION_TIMEOUT": "3s"})
    setup.create()
    produce_calls(kafka, setup.calls, 200, seed)
    impatient = f"{config(max_poll_interval=4_000)}\n{slow('streams.engine.engine:restore', 12)}"
    with Worker(setup, tmp_path / "log", before=impatient) as worker:
        wait_until_done(setup)
        assert len(worker.restored()) == 1
        assert worker.terminate() == 0
    check_exactly_once(setup)


def test_a_worker_without_partitions_stays_and_takes_over(kafka: str, tmp_path: Path, seed: int) -> None:
    setup = Setup(kafka, partitions=1, settings={"SESSION_TIMEOUT": "3s"})
    setup.create()
    produce_calls(kafka, setup.calls, 200, seed)
    impatient = config(max_poll_interval=4_000)
    with Worker(setup, tmp_path / "first", before=impatient) as first:
        wait_for("it works", first.assignments)
        with Worker(setup, tmp_path / "second", before=impatient) as second:
            wait_for("the second is there", lambda: second.assignments() or len(first.assignments()) > 1)
            time.sleep(10)
            holder, other = (first, second) if first.assignments()[-1] else (second, first)
            holder.kill()
            wait_for("the other one takes over", lambda: other.assignments()[-1:] == [[0]], timeout=20)
            produce_calls(kafka, setup.calls, 200, seed + 1)
            wait_until_done(setup)
            assert other.terminate() == 0
    check_exactly_once(setup)


def test_sigterm_in_the_middle_of_a_recovery_ends_at_once(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka)
    setup.create()
    with Worker(setup, tmp_path / "log", before=slow("streams.engine.engine:restore", 60)) as worker:
        wait_for("it answers", lambda: "HTTP is at" in worker.said())
        wait_for("it restores", lambda: worker.get("/ready") == 503)
        time.sleep(1)
        assert worker.terminate(10) == 0, worker.said()[-3000:]


def test_a_rebalance_breaks_off_what_the_one_before_it_has_begun(
    kafka: str, tmp_path: Path, seed: int
) -> None:
    """The first worker is not ready again when the third joins; it is while the second still keeps them waiting. What
    it would commit then could already be another's."""
    setup = Setup(kafka, partitions=6, settings={"SESSION_TIMEOUT": "3s"})
    setup.create()
    takes_over_slowly = slow("streams.engine.engine:Engine._identify", 6, call=2)
    joins_slowly = slow("streams.engine.application:Application._on_partitions_revoked", 10, call=2)
    with (
        producing(kafka, setup.calls, 1_000, seed, seconds=20) as sending,
        Worker(setup, tmp_path / "first", before=takes_over_slowly) as first,
    ):
        wait_for("it works", first.assignments)
        with Worker(setup, tmp_path / "second", before=joins_slowly) as second:
            wait_for("the second has its half", second.assignments)
            with Worker(setup, tmp_path / "third") as third:
                wait_for("the first has its third", lambda: len(first.assignments()[-1]) == 2)
                assert [len(each) for each in first.assignments()] == [6, 2]
                wait_until_done(setup, sending)
                for worker in (first, second, third):
                    assert worker.terminate() == 0, worker.said()[-3000:]
    check_exactly_once(setup)


def test_a_rebalance_waits_for_the_last_commit_of_a_worker_that_stops(
    kafka: str, tmp_path: Path, seed: int
) -> None:
    """Their next owner would fence that commit otherwise. Then it leaves the group by itself: nobody has
    to wait for the end of its session."""
    setup = Setup(kafka, partitions=6, settings={"SESSION_TIMEOUT": "60s", "COMMIT_INTERVAL": "30s"})
    setup.create()
    with Worker(setup, tmp_path / "first", before=slow("faust:App._consumer_wait_empty", 8)) as first:
        wait_for("it works", first.assignments)
        produce_calls(kafka, setup.calls, 500, seed)
        time.sleep(1)
        first.signal(SIGTERM)
        with Worker(setup, tmp_path / "second") as second:
            assert first.ends(25) == 0, first.said()[-3000:]
            assert not second.assignments()
            wait_for("all are the second's", lambda: second.assignments()[-1:] == [[*range(6)]], timeout=25)
            assert "from 0 rows" not in second.said(), "the last commit was not empty"
            assert second.terminate() == 0
            wait_until_done(setup)
    assert "Heartbeat send request failed" not in first.said()
    check_exactly_once(setup)


TERMINATED_AT_THE_START = """
import os, signal, time
from streams.engine.transport import ConsumerThread
_quick = ConsumerThread._start_thread

def _late(thread):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)
    _quick(thread)

ConsumerThread._start_thread = _late
"""


def test_sigterm_while_the_client_is_only_starting_ends_the_worker(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka)
    setup.create()
    with Worker(setup, tmp_path / "log", before=TERMINATED_AT_THE_START) as worker:
        assert worker.ends(15) == 0, worker.said()[-3000:]


def test_a_client_that_does_not_stop_does_not_hold_up_the_clock_that_ends_the_worker(
    kafka: str, tmp_path: Path
) -> None:
    setup = Setup(kafka)
    setup.create()
    sooner = "import streams.worker.worker; streams.worker.worker.STOP_SECONDS = 3.0"
    hangs = slow("mode.threads:ServiceThread._gather_remaining_tasks", 60)
    with Worker(setup, tmp_path / "log", before=f"{sooner}\n{hangs}") as worker:
        wait_for("it works", worker.assignments)
        assert worker.terminate() == 1
        assert "the worker did not stop within 3 s" in worker.said()


def test_partitions_that_need_not_move_do_not(kafka: str, tmp_path: Path, seed: int) -> None:
    setup = Setup(kafka, partitions=6)
    setup.create()
    with (
        producing(kafka, setup.calls, 2_000, seed, seconds=8) as sending,
        Worker(setup, tmp_path / "first") as first,
    ):
        wait_for("the first has all", lambda: first.assignments())
        with Worker(setup, tmp_path / "second") as second:
            wait_for("the second has some", lambda: second.assignments())
            assert second.terminate() == 0
            wait_for("the first has all again", lambda: len(first.assignments()) == 3)
        everything, less, again = (set(each) for each in first.assignments())
        assert everything == again == set(range(6))
        assert less < everything
        assert len(less) == 3
        assert [set(each) for each in first.restored()] == [everything, everything - less], (
            "kept is not restored"
        )
        wait_until_done(setup, sending)
        assert first.terminate() == 0
    check_exactly_once(setup)


def test_a_third_worker_takes_its_share_and_moves_nothing_else(kafka: str, tmp_path: Path, seed: int) -> None:
    """Which the round robin of most Kafka clients does not manage."""
    setup = Setup(kafka, partitions=6)
    setup.create()

    def latest(workers: list[Worker]) -> list[set[int]]:
        return [set(worker.assignments()[-1]) if worker.assignments() else set() for worker in workers]

    with ExitStack() as running, producing(kafka, setup.calls, 1_000, seed, seconds=4) as sending:
        two = [running.enter_context(Worker(setup, tmp_path / f"log-{number}")) for number in range(2)]
        wait_for("both have their half", lambda: [len(each) for each in latest(two)] == [3, 3])
        before = latest(two)
        with Worker(setup, tmp_path / "third") as third:
            wait_for("a third each", lambda: [len(each) for each in latest([*two, third])] == [2, 2, 2])
            less = latest(two)
            assert all(now < then for now, then in zip(less, before, strict=True))
            assert third.terminate() == 0
        wait_for("both have their half again", lambda: [len(each) for each in latest(two)] == [3, 3])
        assert all(then < now for now, then in zip(latest(two), less, strict=True))
        wait_until_done(setup, sending)
        for worker in two:
            assert worker.terminate() == 0
    check_exactly_once(setup)


def test_a_rolling_restart_with_static_membership_moves_no_partition(
    kafka: str, tmp_path: Path, seed: int
) -> None:
    setup = Setup(kafka, partitions=6, settings={"SESSION_TIMEOUT": "20s"})
    setup.create()

    def start(number: int) -> Worker:
        return Worker(setup, tmp_path / f"log-{number}", env={"INSTANCE_ID": f"w{number}"})

    with ExitStack() as running, producing(kafka, setup.calls, 2_000, seed, seconds=8) as sending:
        workers = [running.enter_context(start(number)) for number in range(2)]
        wait_for(
            "both have their half",
            lambda: [len(w.assignments()[-1:] and w.assignments()[-1]) for w in workers] == [3, 3],
        )
        before = [worker.assignments()[-1] for worker in workers]
        rounds = [len(worker.assignments()) for worker in workers]
        assert workers[0].terminate() == 0
        workers[0] = running.enter_context(start(0))
        wait_for("the successor has the same", lambda: workers[0].assignments())
        assert workers[0].assignments() == [before[0]]
        assert len(workers[1].assignments()) == rounds[1], "the other has not noticed anything"
        wait_until_done(setup, sending)
        for worker in workers:
            assert worker.terminate() == 0
    check_exactly_once(setup)


def test_a_worker_without_partitions_is_healthy_and_takes_over(kafka: str, tmp_path: Path, seed: int) -> None:
    setup = Setup(kafka, partitions=1)
    setup.create()
    with (
        producing(kafka, setup.calls, 1_000, seed, seconds=5) as sending,
        Worker(setup, tmp_path / "first") as first,
    ):
        wait_for("the first has it", lambda: first.assignments() == [[0]])
        with Worker(setup, tmp_path / "second") as second:
            wait_for("the second has none", lambda: second.assignments() == [[]])
            wait_for("it is ready", lambda: second.get("/ready") == 200)
            assert second.get("/live") == 200
            assert first.terminate() == 0
            wait_for("the second has it", lambda: second.assignments()[-1] == [0])
            wait_until_done(setup, sending)
            assert second.get("/ready") == 200
            assert second.terminate() == 0
    check_exactly_once(setup)
