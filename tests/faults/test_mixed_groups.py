"""Workers of the former engine and of this one in one group: an upgrade and the way back lose and double nothing."""

import asyncio
import time
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGSTOP

import pytest
from aiokafka import AIOKafkaProducer
from support.former import former, is_former
from support.inject import signal_at
from support.load import produce_calls, producing
from support.worker import Setup, Worker, check_at_least_once, check_exactly_once, wait_for, wait_until_done

from streams.engine.protocol import ListTransactionsRequest

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
COMMIT = "aiokafka:AIOKafkaProducer.commit_transaction"


def transactional_ids(setup: Setup) -> set[str]:
    """Those of the group's producers so far."""

    async def ask() -> set[str]:
        async with AIOKafkaProducer(bootstrap_servers=setup.brokers) as producer:
            node = producer.client.get_random_node()
            answer = await producer.client.send(node, ListTransactionsRequest([]))
            return {id_ for id_, *_ in answer.transactions if id_.startswith(setup.group)}

    return asyncio.run(ask())


def works(worker: Worker) -> bool:
    """Whether it has partitions."""
    return bool(worker.assignments() and worker.assignments()[-1])


@pytest.mark.parametrize(
    ("rounds", "seconds"), [(1, 12), pytest.param(4, 60, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_a_rolling_upgrade_and_the_way_back_with_kills(
    kafka: str, tmp_path: Path, seed: int, chance: Random, rounds: int, seconds: int
) -> None:
    """Each kill is at any moment. A former worker waits for the timeout of what a new one has left open."""
    setup = Setup(kafka, settings={"SESSION_TIMEOUT": "3s"})
    setup.create()
    started: list[Worker] = []

    def start(before: str = "") -> Worker:
        worker = Worker(setup, tmp_path / f"log-{len(started)}", before=before)
        started.append(worker)
        wait_for("it has partitions", lambda: works(worker), 90)
        assert is_former(worker.said(), tmp_path) is bool(before)
        time.sleep(chance.uniform(0, 1))
        return worker

    old = former(tmp_path)
    with producing(kafka, setup.calls, 100 * seconds, seed, seconds=seconds) as sending:
        try:
            last = start(old)
            wait_for("a commit", setup.committed)
            assert transactional_ids(setup) == {f"{setup.group}-{setup.calls}-{n}" for n in range(4)}
            for _ in range(rounds):
                upgraded = start()
                last.kill()
                again = start(old)
                upgraded.kill()
                last = start()
                assert again.terminate() == 0, again.said()[-3000:]
            wait_until_done(setup, sending, timeout=90)
            assert last.terminate() == 0, last.said()[-3000:]
        finally:
            for worker in started:
                worker.kill()
    check_exactly_once(setup)
    check_at_least_once(setup)


@pytest.mark.parametrize(
    ("way", "instance"),
    [
        ("up", ""),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (("up", "one"), ("down", ""), ("down", "one"))
        ),
    ],
)
def test_a_worker_that_pauses_in_the_middle_of_a_commit_while_the_other_engine_takes_over(
    kafka: str, tmp_path: Path, seed: int, chance: Random, way: str, instance: str
) -> None:
    """The group does not fence the former engine, and partitions' producers do not fence this one."""
    setup = Setup(
        kafka, settings={"SESSION_TIMEOUT": "3s", **({"INSTANCE_ID": instance} if instance else {})}
    )
    setup.create()
    old, new = former(tmp_path), ""
    before, after = (old, new) if way == "up" else (new, old)
    pause = signal_at(COMMIT, SIGSTOP, call=chance.randint(1, 12 if way == "up" else 4))
    with (
        producing(kafka, setup.calls, 2_000, seed, seconds=5) as sending,
        Worker(setup, tmp_path / "zombie", before=before + pause) as zombie,
    ):
        wait_for("a commit", lambda: works(zombie))
        time.sleep(1.5)
        with Worker(setup, tmp_path / "heir", before=after) as heir:
            # The former engine waits for the timeout of what this one has left open, 30 s, and not the other way round.
            patience = 20 if way == "up" else 90
            wait_for("the partitions move", lambda: [0, 1, 2, 3] in heir.assignments(), patience)
            assert [is_former(each.said(), tmp_path) for each in (zombie, heir)] == [
                way == "up",
                way == "down",
            ]
            wait_until_done(setup, sending)
            zombie.signal(SIGCONT)
            time.sleep(3)
            produce_calls(kafka, setup.calls, 200, seed + 1)
            wait_until_done(setup)
            assert heir.terminate() == 0, heir.said()[-3000:]
    check_exactly_once(setup)
    check_at_least_once(setup)
