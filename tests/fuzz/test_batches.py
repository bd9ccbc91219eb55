"""Record batches of any bytes that a broker accepts, through a real worker: the output is exactly what the model
says."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import Producer
from support import model
from support.batches import RawRecord, Wire, encoded
from support.calls import generate
from support.kafka import create_topics, read_topic
from support.worker import Setup, run_until_caught_up

from streams.kafka import reading
from streams.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]

SECONDS = float(os.environ.get("FUZZ_SECONDS", "45"))
DAY = 86_400_000
NAMES = (
    b"trace",
    b"",
    b"Ger\xe4t",
    b"\xff\xfe",
    b"content-type",
    b"dead-reason",
    "\u00e9\u202e".encode(),
    b"\xed\xa0\x80",
)
TEXTS = (
    None,
    b"",
    b"1",
    b"application/json",
    b"text/plain",
    b" APPLICATION/msgpack;x",
    b"\xff\0\x1b[2J",
    b"x" * 3_000,
)
CALL = {"id": "c", "status": "busy", "direction": "inbound", "from": "+12125550123", "to": "+442079460958"}


def records_of(random: Random, now: int) -> Iterator[RawRecord]:
    """Records of simulated lives, and what else a producer may send."""
    _, steps = generate(random, 40)
    lives = [step for step in steps if isinstance(step, model.Record)]
    latest = max((step.timestamp or 0) for step in lives)
    for step in lives:
        moved = -1 if step.timestamp is None or step.timestamp < 0 else step.timestamp - latest + now - 60_000
        headers = [(name.encode(), value) for name, value in step.headers]
        timestamp = moved if random.random() < 0.9 else odd_timestamp(random, now)
        key = (
            step.key
            if random.random() < 0.8
            else random.choice([None, b"", random.randbytes(5), b"k" * 50_000])
        )
        if random.random() < 0.3:
            headers += [(random.choice(NAMES), random.choice(TEXTS)) for _ in range(random.randint(1, 4))]
        value = step.value if random.random() < 0.85 else odd_value(random)
        yield RawRecord(timestamp, key, value, headers)


def odd_timestamp(random: Random, now: int) -> int:
    return random.choice([-1, 0, 1, now // 1000, now - 400 * DAY, now + DAY, now * 1000, 2**62])


def odd_value(random: Random) -> bytes | None:
    big = random.choice([9_000, 200_000, 3_000_000])
    return random.choice(
        [
            None,
            b"",
            random.randbytes(random.choice([1, 30, 3_000])),
            b"[" * 600 + b"]" * 600,
            json.dumps(CALL | {"x": "y" * big}).encode(),
            json.dumps(CALL | {"id": f"long-{big}", "recording_url": "urn:x:" + "y" * big}).encode(),
            json.dumps(CALL | {"id": "\x01" * 8_192, "price": "\x02" * 8_192}).encode(),
            b"?" * big,
            random.randbytes(700_000),
        ]
    )


def batches(random: Random, now: int) -> Iterator[tuple[list[RawRecord], int]]:
    """Batches and their codecs."""
    batch: list[RawRecord] = []
    for record in records_of(random, now):
        batch.append(record)
        if random.random() < 0.2 or len(record.value or b"") > 100_000:
            yield batch, random.choice([0, 1, 2, 3, 4])
            batch = []
    if batch:
        yield batch, random.choice([0, 1, 2, 3, 4])


def transaction(producer: Producer, topic: str, is_committed: bool, now: int) -> list[model.Record]:
    """A record in a transaction of its own, and the transaction's marker behind it; returns it if it counts."""
    value, written = json.dumps(CALL | {"id": "in a transaction"}).encode(), []
    producer.begin_transaction()
    producer.produce(topic, value, b"k", 0, on_delivery=lambda _, message: written.append(message))
    producer.flush(30)
    if not is_committed:
        producer.abort_transaction(30)
        return []
    producer.commit_transaction(30)
    return [model.Record(each.offset(), each.timestamp()[1], b"k", value, (), now) for each in written]


def send(setup: Setup, random: Random, now: int, until: float) -> list[model.Record]:
    """Random batches, with aborted transactions and their markers in between; returns what is in the log now."""
    log: list[model.Record] = []
    foreign = Producer(
        {"bootstrap.servers": setup.brokers, "transactional.id": setup.name, "broker.address.family": "v4"}
    )
    foreign.init_transactions(30)
    with closing(Wire(setup.brokers)) as wire:
        while time.monotonic() < until:
            for batch, codec in batches(random, now):
                error, first, appended = wire.produce(setup.calls, 0, encoded(batch, codec))
                for number, record in enumerate(batch if error == 0 else ()):
                    names = [
                        (name.decode("utf-8", "surrogateescape"), value) for name, value in record.headers
                    ]
                    timestamp = appended if appended >= 0 else record.timestamp
                    log.append(
                        model.Record(
                            first + number,
                            None if timestamp < 0 else timestamp,
                            record.key,
                            record.value,
                            tuple(names),
                            now,
                        )
                    )
                if random.random() < 0.1:
                    log += transaction(foreign, setup.calls, random.random() < 0.5, now)
    return log


async def letters(setup: Setup) -> list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]:
    settings = Settings.load(setup.env())
    found = []
    async with reading.reader(settings) as consumer:
        places = await reading.ranges(consumer, setup.topic("dead"))
        async for batch in reading.read(consumer, places):
            found += [(key, value, list(headers)) for _, _, key, value, headers in batch.records]
    return found


@pytest.fixture
def seed() -> int:
    """From TEST_SEED, else random; pytest shows what is printed when the test fails."""
    value = int(os.environ.get("TEST_SEED") or time.time_ns() % 100_000)
    print(f"TEST_SEED = {value}")
    return value


@pytest.mark.parametrize(
    ("settings", "timestamps"),
    [
        ({}, "CreateTime"),
        ({"GUARANTEE": "at_least_once", "STORE": "rocksdb"}, "CreateTime"),
        ({}, "LogAppendTime"),
    ],
    ids=["exactly once", "at least once", "stamped by the broker"],
)
def test_whatever_a_broker_accepts_is_what_the_model_says(
    kafka: str, tmp_path: Path, seed: int, settings: dict[str, str], timestamps: str
) -> None:
    random, now = Random(seed), int(time.time() * 1000)
    setup = Setup(
        kafka,
        1,
        settings={"CALL_TIMEOUT": "60s", "DATA_DIR": str(tmp_path / "data"), "NULLS": "absent", **settings},
    )
    create_topics(
        kafka,
        setup.calls,
        config={
            "max.message.bytes": "4194304",
            "retention.ms": "-1",
            "message.timestamp.type": timestamps,
            "message.timestamp.after.max.ms": str(2**63 - 1),
        },
    )
    setup.create_outputs()
    log = send(setup, random, now, time.monotonic() + SECONDS / 3)
    assert len(log) > 100
    run_until_caught_up(setup, tmp_path / "log", 300)
    expected = model.Partition(model.Settings(60_000, nulls="absent", topic=setup.calls)).run(log)
    completed = [(r.key, json.loads(r.value or b"")) for r in read_topic(kafka, setup.topic("completed"))]
    assert completed == [(each.key.encode(), each.value) for each in expected.completed]
    found = asyncio.run(letters(setup))
    assert len(found) == len(expected.dead)
    for (key, value, headers), letter in zip(found, expected.dead, strict=True):
        said = {
            name: (text or b"").decode("utf-8", "replace")
            for name, text in headers
            if name.startswith("dead-")
        }
        left_out = said.pop("dead-value-bytes", None)
        assert {name: said[name] for name in letter.headers} == letter.headers
        if left_out is None or int(left_out) != len(letter.record.value or b""):
            assert (key, value) == (letter.record.key, letter.record.value)
            assert tuple(headers[: len(letter.record.headers)]) == letter.record.headers
        else:
            assert len(letter.record.value or b"") > 100_000
            assert value == b""
