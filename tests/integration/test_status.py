"""`telefonie status`: the sums of the committed state, whatever is killed."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.kafka import Record, create_topics, produce, read_topic
from support.load import produce_calls, producing
from support.worker import Setup, Worker, run_until_caught_up, wait_for

from streams.calls.ledger import Ledger, encode_ledger
from streams.engine.processor import POSITION
from streams.engine.restore import Position, encode_position
from streams.kafka import reading
from streams.operations.replay.ranges import Range, Span, resolve
from streams.operations.status import status as group_status
from streams.settings import Settings

pytestmark = pytest.mark.kafka


def ask(setup: Setup, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streams", "status", *options]
    return subprocess.run(command, env=setup.env(), capture_output=True, text=True, timeout=60)


def status(setup: Setup, *options: str) -> dict:
    done = ask(setup, "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_equations_hold_under_sigkill(kafka: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 100_000))
    print("TEST_SEED =", seed)
    chance = Random(seed)
    setup = Setup(kafka, settings={"INSTANCE_ID": "one", "COMMIT_INTERVAL": "20ms"})
    setup.create()
    log = tmp_path / "log"
    reads = []
    with producing(kafka, setup.calls, 3_000, seed, seconds=4) as sending:
        for _ in range(2):
            with Worker(setup, log) as worker:
                before = setup.committed()
                wait_for("a commit", lambda before=before: sending.done() or setup.committed() > before)
                time.sleep(chance.uniform(0, 0.5))
                worker.kill()
            found = status(setup)
            assert [each["holds"] for each in found["equations"]] == [True, True]
            assert "opened" not in found["equations"][1]["equation"], (
                "it is not counted, so it could not fail"
            )
            reads.append(found["read"])
    run_until_caught_up(setup, log)
    done = status(setup, "--recount")
    assert done["recounted"]
    assert reads == sorted(reads)
    assert reads[0] < done["read"] == sending.result()
    assert done["read"] == done["applied"] + sum(done["rejected"].values())
    assert sum(done["rejected"].values()) == len(read_topic(kafka, setup.topic("dead")))
    completed = {record.key for record in read_topic(kafka, setup.topic("completed"))}
    assert done["opened"] == sum(done["closed"].values()) + done["open"]
    assert sum(done["closed"].values()) == len(completed)
    assert [each["lag"] for each in done["partitions"]] == [0] * 4
    for each in done["partitions"]:
        assert abs(each["last_commit"] / 1000 - time.time()) < 60
        assert each["oldest_uncommitted_seconds"] is None
        assert each["stream_time"] > 1e12


def test_what_waits_is_told_by_partition(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=2)
    setup.create()
    nothing = status(setup)
    assert (nothing["read"], nothing["open"], len(nothing["partitions"])) == (0, 0, 2)
    assert {each["last_commit"] for each in nothing["partitions"]} == {None}
    produce_calls(kafka, setup.calls, 50, seed=2)
    run_until_caught_up(setup, tmp_path / "log")
    now = int(time.time() * 1000)
    produce(kafka, setup.calls, [Record(b"{}", timestamp=now - ago, partition=1) for ago in (90_000, 5_000)])
    waiting = status(setup)["partitions"]
    assert [each["lag"] for each in waiting] == [0, 2]
    assert 90 <= waiting[1]["oldest_uncommitted_seconds"] < 150
    shown = ask(setup)
    assert shown.returncode == 0
    assert "read = applied + rejected\tok" in shown.stdout
    assert len(shown.stdout.split("\n\n")[1].splitlines()) == 2


def test_a_violated_equation_is_named(kafka: str) -> None:
    setup = Setup(kafka, partitions=1)
    setup.create()
    changelog = f"{setup.group}-calls-changelog"
    create_topics(kafka, changelog, config={"cleanup.policy": "compact"})
    forged = encode_position(
        Position(7, encode_ledger(Ledger(read=7, applied=5, opened=2)), skipped=3, skipped_to=7)
    )
    later = [Record(None, key=b"%d" % n) for n in range(1_200)]  # the position is far from the end
    produce(kafka, changelog, [Record(forged, key=POSITION), *later])
    done = ask(setup)
    assert done.returncode == 1
    assert "violated: 7 and 5" in done.stdout
    assert "skipped and not accepted = 0\tviolated: 3 and 0" in done.stdout
    assert "opened = closed + open" not in done.stdout
    assert "opened = closed + open\tviolated: 2 and 0" in ask(setup, "--recount").stdout


def test_without_a_calls_topic_it_says_what_to_do(kafka: str) -> None:
    done = ask(Setup(kafka))
    assert done.returncode == 1
    assert "is missing: run `telefonie topics create`" in done.stderr


def test_what_is_written_between_two_questions_is_not_hidden(
    kafka: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Brokers are asked for the end of all, then for that of what can be read: the log grows in between."""
    setup = Setup(kafka, partitions=1)
    setup.create()
    produce_calls(kafka, setup.calls, 5, seed=1)
    run_until_caught_up(setup, tmp_path / "log")
    settings, ends = Settings.load(setup.env()), reading.whole

    async def growing(consumer: Any, logs: Any) -> Any:
        produce_calls(kafka, setup.calls, 1, seed=2)
        return await ends(consumer, logs)

    monkeypatch.setattr(reading, "whole", growing)
    [found] = asyncio.run(group_status(settings, recount=False)).partitions
    assert (found.lag > 0, found.hidden) == (True, 0)

    async def spans() -> dict[Any, Span]:
        async with reading.reader(settings) as consumer:
            return await resolve(settings, consumer, setup.calls, Range(), 0)

    [span] = asyncio.run(spans()).values()
    assert span.hidden == 0
