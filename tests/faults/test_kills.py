"""Workers killed at any instant (semantics, section 7).

Plain Faust is known to lose events with exactly-once and `kill -9`: it commits a transaction without having seen its
records acknowledged, and recovers by offsets that a transaction's marker upsets.
"""

import time
from pathlib import Path
from random import Random
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest
from support.inject import signal_at
from support.load import produce_calls, producing
from support.worker import (
    Setup,
    Worker,
    check_at_least_once,
    check_exactly_once,
    check_repartitioned,
    run_until_caught_up,
    wait_for,
    wait_until_done,
)

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
#: On a machine that has more to do.
LONG = (pytest.mark.slow, pytest.mark.timeout(900))
PRODUCER = "aiokafka:AIOKafkaProducer"
RECOVERY: dict[str, dict[str, Any]] = {
    "a former self not yet fenced": {"point": "streams.engine.writer:Writer.start"},
    "a former self fenced": {"point": "streams.engine.writer:Writer.start", "after": True},
    "what dead workers left open not yet ended": {"point": "streams.engine.takeover:LeftOpen.end"},
    "workers of a former release not yet fenced": {"point": "streams.engine.engine:fence_former_release"},
    "all fenced": {"point": "streams.engine.engine:fence_former_release", "after": True},
    "in recovery": {"point": "streams.engine.engine:restore", "delay": 0.02},
    "recovered": {"point": "streams.engine.engine:restore", "after": True},
}
POINTS: dict[str, dict[str, Any]] = {
    "before a transaction begins": {"point": f"{PRODUCER}.begin_transaction"},
    "records sent, the offset not": {"point": f"{PRODUCER}.send_offsets_to_transaction"},
    "the offset sent": {"point": f"{PRODUCER}.send_offsets_to_transaction", "after": True},
    "everything but the end of the transaction sent": {"point": f"{PRODUCER}.commit_transaction"},
    "the end of the transaction on its way": {"point": f"{PRODUCER}.commit_transaction", "delay": 0.001},
    "the end of the transaction perhaps there": {"point": f"{PRODUCER}.commit_transaction", "delay": 0.004},
    "a transaction ended": {"point": f"{PRODUCER}.commit_transaction", "after": True},
    **{name: point | {"call": 1} for name, point in RECOVERY.items()},
}


def check(setup: Setup) -> None:
    """Both promises: the engine writes transactions under either guarantee."""
    check_exactly_once(setup)
    check_at_least_once(setup)


@pytest.mark.parametrize(
    ("guarantee", "kills", "calls"),
    [
        ("exactly_once", 10, 3_000),
        ("at_least_once", 4, 2_000),
        pytest.param("exactly_once", 30, 60_000, marks=LONG),
        pytest.param("at_least_once", 30, 60_000, marks=LONG),
    ],
)
def test_sigkills_in_a_row_at_random_moments(
    kafka: str, tmp_path: Path, seed: int, chance: Random, guarantee: str, kills: int, calls: int
) -> None:
    setup = Setup(kafka, settings={"GUARANTEE": guarantee, "INSTANCE_ID": "one"})
    setup.create()
    log = tmp_path / "log"
    with producing(kafka, setup.calls, calls, seed, seconds=1.5 * kills):
        for _ in range(kills):
            with Worker(setup, log) as worker:
                time.sleep(chance.uniform(0.8, 3.2))  # the first commit comes after about 2.3 s
                worker.kill()
    run_until_caught_up(setup, log)
    check(setup)


@pytest.mark.parametrize(("kills", "calls"), [(4, 1_500), pytest.param(30, 40_000, marks=LONG)])
def test_sigkills_while_events_are_on_their_way_through_the_internal_topic(
    kafka: str, tmp_path: Path, seed: int, chance: Random, kills: int, calls: int
) -> None:
    setup = Setup(kafka, settings={"REPARTITION": "true", "INSTANCE_ID": "one"})
    setup.create()
    log = tmp_path / "log"
    with producing(kafka, setup.calls, calls, seed, seconds=2.0 * kills, scatter=True):
        for _ in range(kills):
            with Worker(setup, log) as worker:
                wait_for("an assignment of both stages", lambda worker=worker: len(worker.assignments()) == 2)
                time.sleep(chance.uniform(0, 1.5))
                worker.kill()
    run_until_caught_up(setup, log)
    assert "there is no state" not in log.read_text(), "the group's offset is only a copy"
    check_repartitioned(setup)
    check(setup)


@pytest.mark.parametrize("names", [5, pytest.param(len(POINTS), marks=pytest.mark.slow)], ids=["some", "all"])
def test_sigkill_at_each_step_of_a_commit_and_of_a_recovery(
    kafka: str, tmp_path: Path, seed: int, chance: Random, names: int
) -> None:
    setup = Setup(kafka, settings={"INSTANCE_ID": "one"})
    setup.create()
    log = tmp_path / "log"
    produce_calls(
        kafka, setup.calls, 5_000, seed
    )  # enough for batches to be applied while checkpoints are written
    for step, name in enumerate(chance.sample(list(POINTS), names)):
        produce_calls(kafka, setup.calls, 200, seed + 1 + step)
        # More than these few may never come: what was added since is one commit, and the first ones are large.
        call = chance.randint(1, 2) if step == 0 else 1
        before = signal_at(**{"signal": SIGKILL, "call": call} | POINTS[name])
        with Worker(setup, log, before=before) as worker:
            assert worker.ends(30) == -SIGKILL, f"{name}: {worker.said()[-2000:]}"
    run_until_caught_up(setup, log)
    check(setup)


@pytest.mark.parametrize("repartition", ["false", "true"])
def test_what_a_killed_worker_has_left_open_holds_up_nobody(
    kafka: str, tmp_path: Path, seed: int, repartition: str
) -> None:
    """Neither who takes over nor readers of the outputs wait for the timeout of its transaction, 30 s."""
    setup = Setup(kafka, settings={"SESSION_TIMEOUT": "3s", "REPARTITION": repartition})
    setup.create()
    strike = signal_at(f"{PRODUCER}.commit_transaction", SIGKILL, call=3)
    with (
        producing(kafka, setup.calls, 2_000, seed, seconds=6) as sending,
        Worker(setup, tmp_path / "killed", before=strike) as killed,
    ):
        assert killed.ends(60) == -SIGKILL
        begun = time.monotonic()
        with Worker(setup, tmp_path / "heir") as heir:
            stages = 2 if repartition == "true" else 1
            wait_for("the heir has all", lambda: heir.assignments().count([0, 1, 2, 3]) >= stages, 25)
            assert time.monotonic() - begun < 25, "the transaction's timeout was waited for"
            assert "ending the transaction that" in heir.said()
            wait_until_done(setup, sending)
            assert heir.terminate() == 0
    check(setup)


def test_sigkill_during_shutdown_and_during_rebalances(
    kafka: str, tmp_path: Path, seed: int, chance: Random
) -> None:
    setup = Setup(kafka, settings={"SESSION_TIMEOUT": "3s"})
    setup.create()
    logs = [tmp_path / f"log-{n}" for n in range(4)]
    with (
        producing(kafka, setup.calls, 2_000, seed, seconds=10),
        Worker(setup, logs[0]) as first,
        Worker(setup, logs[1]) as second,
    ):
        wait_for("an assignment", lambda: second.assignments())
        first.signal(SIGTERM)
        time.sleep(chance.uniform(0, 0.3))
        first.kill()  # in the middle of its stop, or of the rebalance after it
        with Worker(setup, logs[2]) as third:
            wait_for("a rebalance", lambda: "HTTP is at" in third.said())
            time.sleep(chance.uniform(0, 2))
            third.kill()  # joining
            with Worker(setup, logs[3]):
                time.sleep(chance.uniform(1.5, 3))
                second.kill()  # rebalancing because of the fourth
    run_until_caught_up(setup, tmp_path / "log")
    check(setup)
