"""Producers that key by something other than the call id: `TELEFONIE_REPARTITION=true` on a real broker."""

import asyncio
import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from support import model
from support.kafka import Record, create_topics, produce, read_topic
from support.load import producing, scattered, simulated
from support.worker import (
    Setup,
    Worker,
    check_exactly_once,
    check_repartitioned,
    run_until_caught_up,
    wait_for,
)

from streams.calls.repartition import Origin

pytestmark = pytest.mark.kafka


def command(setup: Setup, *words: str, code: int = 0) -> list[dict[str, Any]]:
    """The JSON lines that a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "streams", *words], env=setup.env(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def _send_unstamped(brokers: str, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=brokers) as producer:
        batch = producer.create_batch()
        for value in values:
            assert batch.append(key=b"unstamped", value=value, timestamp=-1) is not None
        await (await producer.send_batch(batch, topic, partition=2))


@pytest.fixture(scope="module")
def repartitioned(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """What a worker has made of randomly keyed records, some too early, without timestamps, or with headers."""
    setup = Setup(kafka, settings={"REPARTITION": "true", "CALL_TIMEOUT": "60s", "KPI_WINDOW": "10s"})
    setup.create()
    records = scattered(simulated(250, seed=6), seed=6)
    asyncio.run(_send_unstamped(kafka, setup.calls, [r.value for r in records[:9] if r.value]))
    odd = [replace(r, headers=(("trace", b"1"), ("telefonie-origin", b"mine"))) for r in records[200:240]]
    produce(kafka, setup.calls, [*records[:200], *odd, *records[240:]])
    asyncio.run(_send_unstamped(kafka, setup.calls, [r.value for r in records[-9:] if r.value] + [b"{"]))
    ahead = int(time.time() * 1000) + 3_600_000
    produce(kafka, setup.calls, [replace(r, timestamp=ahead) for r in records[:5]])
    run_until_caught_up(setup, tmp_path_factory.mktemp("repartition") / "log")
    return setup


def test_the_outputs_are_what_the_model_says_of_the_internal_log(repartitioned: Setup) -> None:
    setup = repartitioned
    check_repartitioned(setup)
    now = int(time.time() * 1000)
    mismatches = 0
    internal = read_topic(setup.brokers, setup.source)
    outputs = {kind: read_topic(setup.brokers, setup.topic(kind)) for kind in ("completed", "dead", "kpis")}
    for number in range(setup.partitions):
        settings = model.Settings(60_000, kpi_window=10_000, topic=setup.calls, partition=number)
        partition, origins = model.Partition(settings), {}
        for record in internal:
            if record.partition != number:
                continue
            *headers, (_, said) = record.headers
            origin = msgspec.msgpack.decode(said or b"", type=Origin)
            origins[record.offset] = {"partition": origin.partition, "offset": origin.offset}
            stamp = record.timestamp if origin.timestamp is None else origin.timestamp
            timestamp = None if stamp == -1 else stamp
            partition.read(
                model.Record(record.offset, timestamp, origin.key, record.value, tuple(headers), now)
            )
        mismatches += partition.figures["key mismatch"]
        completed = [
            (r.key.decode(), json.loads(r.value), r.timestamp)
            for r in outputs["completed"]
            if r.partition == number
        ]
        expected = []
        for each in partition.completed:
            source = {"topic": setup.calls} | origins[each.value["source"]["offset"]]
            expected.append((each.key, each.value | {"source": source}, each.timestamp))
        assert len(completed) > 30
        assert completed == expected
        dead = [r for r in outputs["dead"] if r.partition == number]
        for letter, record in zip(partition.dead, dead, strict=True):
            lies = {f"dead-{name}": str(at) for name, at in origins[letter.record.offset].items()}
            said = {name: (value or b"").decode() for name, value in record.headers if "dead-" in name}
            assert {n: said[n] for n in letter.headers} == letter.headers | lies
            assert (record.key, record.value) == (letter.record.key, letter.record.value)
            assert abs((record.timestamp or 0) - now) < 600_000, "a letter's own time is when it was written"
            assert record.headers[: len(letter.record.headers)] == letter.record.headers
        found = {r.key.decode(): json.loads(r.value) for r in outputs["kpis"] if r.partition == number}
        assert found == partition.kpis
    assert mismatches > 500


def test_keys_lie_where_kafkas_default_partitioner_puts_them(repartitioned: Setup) -> None:
    places = {r.key: r.partition for r in read_topic(repartitioned.brokers, repartitioned.source) if r.key}
    again = f"{repartitioned.name}.again"
    create_topics(repartitioned.brokers, again, partitions=repartitioned.partitions)
    produce(repartitioned.brokers, again, [Record(b"", key) for key in places])
    assert {r.key: r.partition for r in read_topic(repartitioned.brokers, again)} == places
    assert set(places.values()) == set(range(repartitioned.partitions))


def test_status_tells_of_both_topics_and_the_sums_hold(repartitioned: Setup) -> None:
    [found] = command(repartitioned, "status", "--json", "--recount")
    assert all(each["holds"] for each in found["equations"])
    assert found["read"] == len(read_topic(repartitioned.brokers, repartitioned.calls))
    places = [(each["topic"], each["partition"], each["lag"]) for each in found["partitions"]]
    topics = repartitioned.calls, repartitioned.source
    assert places == [(topic, number, 0) for topic in topics for number in range(4)]
    assert all(abs(each["last_commit"] / 1000 - time.time()) < 300 for each in found["partitions"])
    assert [each["stream_time"] is None for each in found["partitions"]] == [True] * 4 + [False] * 4


def test_replay_reads_the_internal_topic(repartitioned: Setup, tmp_path: Path) -> None:
    path = tmp_path / "out"
    [done] = command(repartitioned, "replay", "--compare", "--json", "--output", str(path))
    real = read_topic(repartitioned.brokers, repartitioned.topic("completed"))
    assert done["comparison"]["revisions"]["equal"] == done["completed"] == len(real)
    assert done["rejected"]["too-early"] == 5
    # The first half of one partition of the internal topic: what came of the rest is neither missing nor extra.
    half = str(done["spans"][1]["end"] // 2)
    [part] = command(repartitioned, "replay", "--partition", "1", "--to", half, "--compare", "--json")
    assert 10 < part["comparison"]["calls"]["equal"] < done["comparison"]["calls"]["equal"]
    fresh = replace(repartitioned, name=f"{repartitioned.name}-fresh")
    fresh.create()
    command(fresh, "replay", "--compare", code=1)


def test_dead_letters_go_back_to_the_calls_topic(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=2, settings={"REPARTITION": "true"})
    setup.create()
    broken = [
        Record(b'{"id": "x"}', key=b"k", timestamp=5, headers=(("a", b"b"),), partition=p) for p in (0, 1)
    ]
    produce(kafka, setup.calls, broken)
    run_until_caught_up(setup, tmp_path / "log")
    command(setup, "dead", "redrive", "--all")
    again = [r for r in read_topic(kafka, setup.calls) if r.offset]
    assert [(r.partition, r.key, r.value, r.timestamp) for r in again] == [
        (p, b"k", b'{"id": "x"}', 5) for p in (0, 1)
    ]
    run_until_caught_up(setup, tmp_path / "log")
    check_repartitioned(setup)
    check_exactly_once(setup)


def test_workers_share_both_stages_and_tell_how_far_they_are(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, settings={"REPARTITION": "true", "SESSION_TIMEOUT": "3s"})
    setup.create()
    with (
        producing(kafka, setup.calls, 2_000, seed=3, seconds=8, scatter=True) as sending,
        Worker(setup, tmp_path / "first") as first,
    ):
        wait_for("the first works", lambda: first.get("/ready") == 200 if "HTTP is at" in first.said() else 0)
        with Worker(setup, tmp_path / "second") as second:
            wait_for("the second has some", lambda: len(second.assignments()) == 2)
            assert sum(map(len, second.assignments())) == 4
            lags = r'consumer_lag_records{partition="\d",topic="\S+"}'
            wait_for("it tells all of them", lambda: len(re.findall(lags, second.page("/metrics"))) == 4)
            second.kill()
            sending.result(60)
            wanted = sum(1 for _ in read_topic(kafka, setup.calls))
            wait_for("everything is sent on", lambda: setup.committed_of(setup.calls) >= wanted)
        assert first.terminate() == 0
    run_until_caught_up(setup, tmp_path / "log")
    check_repartitioned(setup)
    check_exactly_once(setup)


def test_a_group_that_was_not_repartitioned_cannot_become_so(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=1)
    setup.create()
    produce(kafka, setup.calls, simulated(5, seed=1))
    run_until_caught_up(setup, tmp_path / "log")
    other = replace(setup, settings={"REPARTITION": "true"})
    with Worker(other, tmp_path / "other", "--until-caught-up") as worker:
        assert worker.ends() == 1
        assert "has committed offset" in worker.said()
        assert "together with state" in worker.said()
        assert "use another TELEFONIE_APP_ID" in worker.said()
