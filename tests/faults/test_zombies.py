"""A worker that pauses until its partitions have moved: nothing it does afterwards may count.

The group takes no offsets of a former generation, and the next owner ends the transaction that it has left open.
"""

import time
from collections import Counter
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGSTOP
from uuid import uuid4

import msgspec
import pytest
from support.inject import QUICK_TICKS, config, signal_at
from support.kafka import Record, produce, read_topic
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
COMMIT = "aiokafka:AIOKafkaProducer.commit_transaction"


@pytest.mark.parametrize("instance", ["", "one"], ids=["dynamic", "static"])
def test_a_worker_that_pauses_in_the_middle_of_a_transaction_changes_nothing_when_it_comes_back(
    kafka: str, tmp_path: Path, seed: int, chance: Random, instance: str
) -> None:
    settings = {"SESSION_TIMEOUT": "3s", **({"INSTANCE_ID": instance} if instance else {})}
    setup = Setup(kafka, settings=settings)
    setup.create()
    # A commit for each thousand records that are sent, and the first ones in one: more than these few may never come.
    pause = signal_at(COMMIT, SIGSTOP, call=chance.randint(1, 4))
    with (
        producing(kafka, setup.calls, 2_000, seed, seconds=5) as sending,
        Worker(setup, tmp_path / "zombie", before=pause) as zombie,
    ):
        wait_for("a commit", lambda: "are assigned" in zombie.said())
        time.sleep(1.5)
        with Worker(setup, tmp_path / "heir") as heir:
            wait_for("the partitions move", lambda: [0, 1, 2, 3] in heir.assignments(), 30)
            wait_until_done(setup, sending)
            rounds = len(zombie.assignments())
            zombie.signal(SIGCONT)
            if not instance:
                wait_for(
                    "it is back", lambda: len(zombie.assignments()) > rounds and zombie.assignments()[-1]
                )
            produce_calls(kafka, setup.calls, 200, seed + 1)
            wait_until_done(setup, sending)
            if instance:
                assert zombie.ends(30) == 1, "two of the same name cannot both be members"
            else:
                assert zombie.terminate() == 0, zombie.said()[-3000:]
            assert heir.terminate() == 0, heir.said()[-3000:]
    check_exactly_once(setup)
    check_at_least_once(setup)


@pytest.mark.slow
def test_workers_paused_again_and_again_at_random_moments(
    kafka: str, tmp_path: Path, seed: int, chance: Random
) -> None:
    """Each pause is longer than the session; one that ends because of it is started again, as by an orchestrator."""
    setup = Setup(kafka, settings={"SESSION_TIMEOUT": "2s"})
    setup.create()
    workers = [Worker(setup, tmp_path / f"log-{n}") for n in range(2)]
    try:
        with producing(kafka, setup.calls, 6_000, seed, seconds=25) as sending:
            time.sleep(3)
            for _ in range(5):
                paused = chance.choice(workers)
                paused.signal(SIGSTOP)
                time.sleep(chance.uniform(2.5, 4))
                paused.signal(SIGCONT)
                time.sleep(chance.uniform(0.1, 2))
                for n, worker in enumerate(workers):
                    if not worker.running:
                        assert worker.ends() == 1
                        workers[n] = Worker(setup, worker.log)
        wait_until_done(setup, sending)
        for worker in workers:
            if worker.running:
                worker.terminate()
    finally:
        for worker in workers:
            worker.__exit__()
    check_exactly_once(setup)


def test_state_that_another_owner_moved_by_time_alone_is_not_trusted_again(
    kafka: str, tmp_path: Path
) -> None:
    """The idle clock commits without moving the offset: by the offset alone the former owner's state looks fresh."""
    setup = Setup(kafka, partitions=1, settings={"SESSION_TIMEOUT": "3s", "CALL_TIMEOUT": "2s"})
    setup.create()
    call = {"direction": "inbound", "from": "+12125550123", "to": "+14165550199"}
    ids = [str(uuid4()) for _ in range(20)]

    def send(status: str) -> None:
        values = [msgspec.json.encode(call | {"id": each, "status": status}) for each in ids]
        produce(
            kafka,
            setup.calls,
            [Record(value, each.encode()) for each, value in zip(ids, values, strict=True)],
        )

    with Worker(setup, tmp_path / "former", before=config(idle_clock=False)) as former:
        send("ringing")
        wait_until_done(setup)
        former.signal(SIGSTOP)
        with Worker(setup, tmp_path / "other", before=config(idle_after=1_000) + QUICK_TICKS) as other:
            wait_for("timeouts", lambda: len(read_topic(kafka, setup.topic("completed"))) == 20, every=0.3)
            assert other.terminate() == 0
        former.signal(SIGCONT)
        wait_for("it is back", lambda: len(former.assignments()) == 2)
        send("completed")
        wait_until_done(setup)
        assert former.terminate() == 0
    found = [msgspec.json.decode(r.value) for r in read_topic(kafka, setup.topic("completed"))]
    assert Counter((each["revision"], each["closed_by"]) for each in found) == {
        (1, "timeout"): 20,
        (2, "status"): 20,
    }
