"""`telefonie replay` on a real Kafka, beside workers that were killed."""

import json
import os
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.kafka import Record, create_topics, produce, read_topic
from support.load import produce_calls, simulated
from support.worker import Setup, Worker, run_until_caught_up, wait_for

from streams.settings import milliseconds

pytestmark = pytest.mark.kafka

SMALL_BATCHES = "import streams.engine.transport as transport\ntransport.MAX_RECORDS = 20"


def replay(setup: Setup, *options: str, exit_code: int = 0) -> list[dict[str, Any]]:
    """The JSON lines that the command prints."""
    command = [sys.executable, "-m", "streams", "replay", "--json", *options]
    done = subprocess.run(command, env=setup.env(), capture_output=True, text=True, timeout=60)
    assert done.returncode == exit_code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def lines(path: Path, topic: str) -> list[tuple[int, bytes, bytes, int]]:
    """Partition, key, value and timestamp of the file's records of a topic, partition by partition."""
    found = []
    for line in path.read_bytes().splitlines():
        row = json.loads(line)
        # The value is in the file as it is in the record.
        value = line.partition(b'"value":')[2][:-1]
        if row["topic"] == topic:
            found.append((row["partition"], row["key"].encode(), value, row["timestamp"]))
    return sorted(found, key=lambda each: each[0])


def real(setup: Setup, topic: str) -> list[tuple[int, bytes, bytes, int]]:
    return [(r.partition, r.key, r.value, r.timestamp) for r in read_topic(setup.brokers, topic)]


@pytest.fixture(scope="module")
def processed(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """What workers have made of a log in batches of 20 records, killed twice, a clock ahead included."""
    setup = Setup(kafka, settings={"INSTANCE_ID": "one", "MAX_CLOCK_SKEW": "3s", "COMMIT_INTERVAL": "20ms"})
    setup.create()
    chance = Random(os.environ.get("TEST_SEED", "replay"))
    produce_calls(kafka, setup.calls, 1_500, seed=11)
    log = tmp_path_factory.mktemp("replay") / "log"
    for _ in range(2):
        with Worker(setup, log, before=SMALL_BATCHES) as worker:
            before = setup.committed()
            wait_for("a commit", lambda before=before: setup.committed() > before)
            time.sleep(chance.uniform(0, 0.1))
            worker.kill()
        produce_calls(kafka, setup.calls, 500, seed=chance.randint(12, 999))
    # Too early when it is read, and no longer when it is replayed; it would close and forget every call before it.
    ahead = int(time.time() * 1000) + milliseconds("20s")
    [call] = simulated(1, seed=5)[:1]
    produce(kafka, setup.calls, [Record(call.value, call.key, ahead, partition=p) for p in range(4)])
    produce_calls(kafka, setup.calls, 200, seed=12)
    with Worker(setup, log, "--until-caught-up", before=SMALL_BATCHES) as worker:
        worker.finish()
    early = {
        r.partition
        for r in read_topic(kafka, setup.topic("dead"))
        if ("dead-reason", b"too-early") in r.headers
    }
    assert early == {0, 1, 2, 3}
    wait_for("the moment that was too early", lambda: time.time() * 1000 + 3_000 > ahead)
    return setup


def test_replay_gives_the_bytes_of_a_worker_in_small_batches_with_kills(
    processed: Setup, tmp_path: Path
) -> None:
    path, group = tmp_path / "out.jsonl", processed.committed()
    [done] = replay(processed, "--compare", "--output", str(path))
    completed = lines(path, processed.topic("completed"))
    assert len(completed) > 2_000
    assert completed == real(processed, processed.topic("completed"))
    kpis = processed.topic("kpis")
    assert {key: value for _, key, value, _ in lines(path, kpis)} == {
        key: value for _, key, value, _ in real(processed, kpis)
    }
    assert done["comparison"]["revisions"]["equal"] == done["completed"] == len(completed)
    assert done["read"] == done["applied"] + sum(done["rejected"].values())
    assert processed.committed() == group


def test_replay_writes_to_other_topics_and_not_to_the_workers(processed: Setup) -> None:
    topics = {kind: processed.topic(f"{kind}-again") for kind in ("completed", "kpis")}
    config = {"retention.ms": "-1"}
    create_topics(processed.brokers, *topics.values(), partitions=4, config=config)
    replay(processed, "--completed-topic", topics["completed"], "--kpis-topic", topics["kpis"])
    assert real(processed, topics["completed"]) == real(processed, processed.topic("completed"))
    last = [{r[1]: r[2] for r in real(processed, name)} for name in (topics["kpis"], processed.topic("kpis"))]
    assert last[0] == last[1]
    for kind in ("completed", "calls"):
        assert replay(processed, "--completed-topic", processed.topic(kind), exit_code=1) == []


def test_a_part_of_the_log_is_compared_with_what_came_of_it(processed: Setup, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    offsets = [r.offset for r in read_topic(processed.brokers, processed.calls) if r.partition == 1]
    end = str(offsets[len(offsets) * 2 // 3])
    [done] = replay(processed, "--to", end, "--partition", "1", "--compare", "--output", str(path))
    assert [(span["partition"], span["end"]) for span in done["spans"]] == [(1, int(end))]
    assert 0 < done["completed"] == len(lines(path, processed.topic("completed")))
    # With a warm-up that reaches back to the beginning, the calls under way at --from are known.
    middle = time.gmtime(time.time() - 560)
    start = time.strftime("%Y-%m-%dT%H:%M:%SZ", middle)
    [done] = replay(processed, "--from", start, "--compare")
    assert all(span["warm_up"] < span["start"] < span["end"] for span in done["spans"])
    assert done["comparison"]["calls"]["equal"] > 100


def test_a_call_that_only_the_next_record_closes_is_not_of_the_range(kafka: str, tmp_path: Path) -> None:
    """It is past its timeout when it begins: what is due is closed before the next record, which is not replayed."""
    setup = Setup(kafka, partitions=1, settings={"CALL_TIMEOUT": "60s"})
    setup.create()
    begun = [
        f'{{"id":"{n}","status":"ringing","direction":"inbound","from":"+12125550100","to":"+12125550101"}}'
        for n in range(3)
    ]
    now = int(time.time() * 1000)
    times = (now, now - milliseconds("1h"), now)
    produce(
        kafka, setup.calls, [Record(value.encode(), b"k", at) for value, at in zip(begun, times, strict=True)]
    )
    run_until_caught_up(setup, tmp_path / "log")
    [published] = real(setup, setup.topic("completed"))
    assert b'"closed_by":"timeout"' in published[2]
    [part] = replay(setup, "--to", "2", "--compare")
    assert part["comparison"]["calls"]["extra"] == 0
    [whole] = replay(setup, "--compare")
    assert whole["comparison"]["calls"]["equal"] == 1


def test_compare_names_what_differs(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=1)
    setup.create()
    produce_calls(kafka, setup.calls, 50, seed=4)
    run_until_caught_up(setup, tmp_path / "log")
    completed = read_topic(kafka, setup.topic("completed"))
    by_call = {
        key: list(each) for key, each in groupby(sorted(completed, key=lambda r: r.key), lambda r: r.key)
    }
    once = [revisions[0] for revisions in by_call.values() if len(revisions) == 1]
    changed, added = json.loads(once[0].value), json.loads(once[1].value)
    changed["events"] += 1
    added["id"] = "00000000-0000-4000-8000-000000000000"
    forged = [
        Record(json.dumps(call).encode(), call["id"].encode(), once[0].timestamp) for call in (changed, added)
    ]
    produce(kafka, setup.topic("completed"), forged)
    *differences, done = replay(setup, "--compare", exit_code=1)
    assert done["comparison"]["calls"] == {
        "equal": len(by_call) - 1,
        "missing": 0,
        "differing": 1,
        "extra": 1,
        "later": 0,
    }
    said = {(each["verdict"], each["id"]) for each in differences}
    assert said == {("differing", changed["id"]), ("extra", added["id"])}
    # Of another group's topic everything is missing.
    create_topics(kafka, f"{setup.name}.empty", config={"retention.ms": "-1"})
    other = Setup(kafka, 1, settings={"COMPLETED_TOPIC": f"{setup.name}.empty"}, name=setup.name)
    *_, done = replay(other, "--compare", exit_code=1)
    assert done["comparison"]["calls"]["missing"] == len(by_call)
