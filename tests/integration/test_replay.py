"""`telefonie replay` on a real Kafka, compared with workers that were killed."""

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
from confluent_kafka import Producer
from support.kafka import Record, create_topics, delete_records, produce, read_topic
from support.load import produce_calls, simulated
from support.worker import Setup, Worker, run_until_caught_up, wait_for

from streams.calls.times import instant
from streams.settings import parse_duration

pytestmark = pytest.mark.kafka

SMALL_BATCHES = "import streams.engine.transport as transport\ntransport.MAX_RECORDS = 20"


def replay(setup: Setup, *options: str, exit_code: int = 0) -> list[dict[str, Any]]:
    """The JSON lines that the command prints."""
    command = [sys.executable, "-m", "streams", "replay", "--json", *options]
    done = subprocess.run(command, env=setup.env(), capture_output=True, text=True, timeout=60)
    assert done.returncode == exit_code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def in_text(setup: Setup, *options: str) -> str:
    """What a comparison that finds something wrong prints for people."""
    command = [sys.executable, "-m", "streams", "replay", "--compare", *options]
    done = subprocess.run(command, env=setup.env(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


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
        before = setup.committed()
        with Worker(setup, log, before=SMALL_BATCHES) as worker:
            wait_for("a commit", lambda before=before: setup.committed() > before)
            time.sleep(chance.uniform(0, 0.1))
            worker.kill()
        produce_calls(kafka, setup.calls, 500, seed=chance.randint(12, 999))
    # Too early when it is read, and no longer when it is replayed; it would close and forget every call before it.
    ahead = int(time.time() * 1000) + parse_duration("20s")
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
    times = (now, now - parse_duration("1h"), now)
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
        "incomparable": 0,
    }
    said = {(each["verdict"], each["id"]) for each in differences}
    assert said == {("differing", changed["id"]), ("extra", added["id"])}
    # Of another group's topic everything is missing.
    create_topics(kafka, f"{setup.name}.empty", config={"retention.ms": "-1"})
    other = Setup(kafka, 1, settings={"COMPLETED_TOPIC": f"{setup.name}.empty"}, name=setup.name)
    *_, done = replay(other, "--compare", exit_code=1)
    assert done["comparison"]["calls"]["missing"] == len(by_call)


SHORT = {"CALL_TIMEOUT": "20s", "CALL_RETENTION": "20s", "MAX_CLOCK_SKEW": "1s", "KPI_WINDOW": "5s"}


def test_calls_that_may_have_events_before_the_log_are_not_compared(kafka: str, tmp_path: Path) -> None:
    """Once retention has removed the beginning of the log: calls in progress there, timed out since, forgotten and
    begun again."""
    setup = Setup(kafka, partitions=2, settings=SHORT)
    setup.create()
    produce_calls(kafka, setup.calls, 1_500, seed=6)
    run_until_caught_up(setup, tmp_path / "log")
    [whole] = replay(setup, "--compare")
    assert whole["comparison"]["calls"]["incomparable"] == 0
    records = read_topic(kafka, setup.calls)
    for partition in range(2):
        offsets = [r.offset for r in records if r.partition == partition]
        delete_records(kafka, setup.calls, partition, offsets[len(offsets) // 4])
    [done] = replay(setup, "--compare")
    calls, windows = done["comparison"]["calls"], done["comparison"]["windows"]
    assert calls["incomparable"] > 100
    assert calls["equal"] > 300
    assert windows["incomparable"] > 10
    assert windows["equal"] > 50
    # What was asked for is not what the log has.
    first = min(r.timestamp or 0 for r in records)
    [done] = replay(setup, "--compare", "--from", instant(first), exit_code=1)
    assert all("were removed by retention" in span["lacking"][0] for span in done["spans"])
    assert done["comparison"]["calls"]["differing"] == 0
    assert in_text(setup, "--from", "0").count("not covered: records before offset") == 2
    [done] = replay(setup, "--compare", "--to", instant(int(time.time() * 1000) + 60_000), exit_code=1)
    assert all("lies in the future" in span["lacking"][-1] for span in done["spans"])
    # Of so few records it is not known how late they are.
    for partition in range(2):
        offsets = [r.offset for r in records if r.partition == partition]
        delete_records(kafka, setup.calls, partition, offsets[-15])
    assert "nothing could be compared" in in_text(setup)


def test_records_of_others_and_other_timestamps_are_counted(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=1, settings=SHORT)
    setup.create_outputs("dead")
    arrival = {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}
    create_topics(kafka, setup.topic("completed"), setup.topic("kpis"), config=arrival)
    create_topics(kafka, setup.calls, config={"retention.ms": "-1"})
    produce_calls(kafka, setup.calls, 200, seed=8)
    run_until_caught_up(setup, tmp_path / "log")
    for kind in ("completed", "kpis"):
        produce(kafka, setup.topic(kind), [Record(b"[]", b"x"), Record(b"{}", None), Record(None, b"y")])
    [done] = replay(setup, "--compare")
    found = done["comparison"]
    assert found["foreign"] == {"completed": 2, "kpis": 2}
    assert found["revisions"]["restamped"] == found["revisions"]["equal"] == done["completed"] > 200
    # A window that somebody has changed, and one that is not ours.
    windows = read_topic(kafka, setup.topic("kpis"))
    window = json.loads(next(r.value for r in windows if r.value and r.value.startswith(b'{"window')) or b"")
    key = f"{window['window_start']}/{window['direction']}/{window['country']}/0".encode()
    other = window | {"country": "AQ"}
    changed = window | {"attempts": window["attempts"] + 1}
    produce(
        kafka,
        setup.topic("kpis"),
        [
            Record(json.dumps(changed).encode(), key),
            Record(json.dumps(other).encode(), key.replace(window["country"].encode(), b"AQ")),
        ],
    )
    *differences, done = replay(setup, "--compare", exit_code=1)
    assert {(each["verdict"], each["window"]) for each in differences} == {
        ("differing", key.decode()),
        ("extra", key.decode().replace(window["country"], "AQ")),
    }
    assert done["comparison"]["windows"]["equal"] > 10


def test_what_the_output_topics_keep_no_longer_is_not_covered(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=1, settings=SHORT)
    setup.create()
    produce_calls(kafka, setup.calls, 300, seed=9)
    run_until_caught_up(setup, tmp_path / "log")
    for kind in ("completed", "kpis"):
        offsets = [r.offset or 0 for r in read_topic(kafka, setup.topic(kind))]
        delete_records(kafka, setup.topic(kind), 0, offsets[len(offsets) // 2])
    [done] = replay(setup, "--compare", exit_code=1)
    assert ["completed" in done["spans"][0]["lacking"][0], "kpis" in done["spans"][0]["lacking"][1]] == [
        True
    ] * 2
    calls = done["comparison"]["calls"]
    assert calls["missing"] + calls["differing"] + calls["extra"] == 0
    assert calls["incomparable"] > 50
    assert calls["equal"] > 50


def test_what_an_open_transaction_hides_is_not_covered(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=1)
    setup.create()
    records = simulated(20, seed=3)
    produce(kafka, setup.calls, records)
    run_until_caught_up(setup, tmp_path / "log")
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": setup.name})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(setup.calls, b"{}")
    producer.flush()
    produce(kafka, setup.calls, records)
    [done] = replay(setup, "--compare", "--to", str(2 * len(records)), exit_code=1)
    assert "hidden by a transaction that is still open" in done["spans"][0]["lacking"][0]
    [done] = replay(setup, "--compare")  # what can be read now is what was asked for
    assert done["spans"][0]["hidden"] == len(records) + 1
    producer.abort_transaction()
