"""Producers that write something other than plain JSON with a timestamp, through a real broker and a real worker."""

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema_rs
import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from support.kafka import Record, create_topics, produce, read_topic
from support.load import produce_calls
from support.worker import Setup, check_exactly_once, run_until_caught_up

from streams.calls.times import instant
from streams.codecs import call_schema, completed_call_schema, kpi_window_schema

pytestmark = pytest.mark.kafka

MSGPACK = (("content-type", b"application/msgpack"),)
FRAME = b"\0\0\0\1\2"


def call(status: str = "completed", **more: Any) -> dict[str, Any]:
    numbers = {"from": "+14155550100", "to": "+442071838750"}
    return {"id": str(uuid4()), "status": status, "direction": "outbound", **numbers, **more}


def published(setup: Setup, kind: str = "completed") -> dict[str, dict[str, Any]]:
    """The last value of each key, as JSON."""
    return {r.key.decode(): json.loads(r.value) for r in read_topic(setup.brokers, setup.topic(kind))}


def reasons(setup: Setup) -> list[bytes | None]:
    return [dict(r.headers)["dead-reason"] for r in read_topic(setup.brokers, setup.topic("dead"))]


def test_every_format_gives_the_same_completed_call(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=1)
    setup.create()
    events = [call(duration=61, price="-0.0130", price_unit="USD") for _ in range(40)]
    formats = itertools.cycle(itertools.product([b"", FRAME], [(), MSGPACK]))
    records = []
    for each, (frame, headers) in zip(events, formats, strict=False):
        encode = msgspec.msgpack.encode if headers else msgspec.json.encode
        records.append(Record(frame + encode(each), each["id"].encode(), 1_750_000_000_000, headers))
    produce(kafka, setup.calls, records)
    run_until_caught_up(setup, tmp_path / "log")
    found = {key: {name: value[name] for name in events[0]} for key, value in published(setup).items()}
    assert found == {each["id"]: each for each in events}
    assert reasons(setup) == []


def test_with_nulls_absent_an_optional_null_is_accepted_and_a_required_one_is_not(
    kafka: str, tmp_path: Path
) -> None:
    setup = Setup(kafka, partitions=1, settings={"NULLS": "absent"})
    setup.create()
    optional, required = call(start_time=None, duration=None), call() | {"to": None}
    produce(kafka, setup.calls, [Record(json.dumps(each).encode()) for each in (optional, required)])
    run_until_caught_up(setup, tmp_path / "log")
    [found] = published(setup).values()
    assert found["id"] == optional["id"]
    assert not {"start_time", "duration"} & found.keys()
    assert reasons(setup) == [b"schema"]


async def _send_unstamped(brokers: str, topic: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=brokers)
    await producer.start()
    batch = producer.create_batch()
    for value in values:
        assert batch.append(key=None, value=value, timestamp=-1) is not None
    await (await producer.send_batch(batch, topic, partition=0))
    await producer.stop()


def test_records_without_a_timestamp_take_the_stream_time(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=1)
    setup.create()
    early, late = call(), call()
    asyncio.run(_send_unstamped(kafka, setup.calls, [json.dumps(early).encode()]))
    moment = int(time.time() * 1000) - 60_000
    produce(kafka, setup.calls, [Record(json.dumps(call()).encode(), timestamp=moment)])
    asyncio.run(_send_unstamped(kafka, setup.calls, [json.dumps(late).encode()]))
    run_until_caught_up(setup, tmp_path / "log")
    found = published(setup)
    assert found[early["id"]]["closed_at"] == instant(0)
    assert found[late["id"]]["closed_at"] == instant(moment)
    check_exactly_once(setup)


def test_in_a_log_append_time_topic_events_happen_when_they_arrive(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=1)
    create_topics(kafka, setup.calls, config={"message.timestamp.type": "LogAppendTime"})
    outputs = [setup.topic(kind) for kind in ("completed", "kpis", "dead")]
    create_topics(kafka, *outputs, config={"retention.ms": "-1"})
    before = int(time.time() * 1000)
    events = [call("ringing"), call()]
    produce(kafka, setup.calls, [Record(json.dumps(each).encode(), timestamp=1_000) for each in events])
    run_until_caught_up(setup, tmp_path / "log")
    [found] = published(setup).values()
    assert instant(before) <= found["closed_at"] <= instant(int(time.time() * 1000))
    check_exactly_once(setup)


def test_every_record_is_valid_under_its_schema_and_every_completed_call_is_a_call(
    kafka: str, tmp_path: Path
) -> None:
    setup = Setup(kafka, settings={"CALL_TIMEOUT": "30s", "KPI_WINDOW": "10s"})
    setup.create()
    produce_calls(kafka, setup.calls, 1_000, seed=8)
    run_until_caught_up(setup, tmp_path / "log")
    completed, kpis, calls = (
        jsonschema_rs.validator_for(schema().decode(), validate_formats=True)
        for schema in (completed_call_schema, kpi_window_schema, call_schema)
    )
    records = read_topic(kafka, setup.topic("completed"))
    assert {json.loads(r.value)["closed_by"] for r in records} == {"status", "timeout"}
    for record in records:
        document = json.loads(record.value)
        completed.validate(document)
        calls.validate(document)
    windows = read_topic(kafka, setup.topic("kpis"))
    assert len(windows) > 10
    for record in windows:
        kpis.validate(json.loads(record.value))
