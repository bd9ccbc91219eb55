"""Records that break the code, and floods of records that are refused."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from support.inject import raise_on
from support.kafka import Record, configure, create_topics, produce, read_topic
from support.load import produce_calls, simulated
from support.worker import (
    WALL,
    Setup,
    Worker,
    check_exactly_once,
    processors,
    run_until_caught_up,
    wait_for,
    wait_until_done,
)

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.mark.parametrize("function", ["begin", "apply", "record"])
def test_a_record_on_which_the_code_raises_is_set_aside_and_the_partition_goes_on(
    kafka: str, tmp_path: Path, seed: int, function: str
) -> None:
    """The call's other events are applied as if that one had never come."""
    setup = Setup(kafka, partitions=1)
    setup.create()
    records = simulated(60, seed)
    poison = 0 if function == "begin" else list(_closing(setup, records))[5]
    marker = "https://poison.example"
    spoilt = records[poison].value.replace(b"{", b'{"recording_url":"%s",' % marker.encode(), 1)
    with Worker(
        setup, tmp_path / "log", before=raise_on("streams.calls.partition", function, marker)
    ) as worker:
        produce(
            kafka,
            setup.calls,
            [
                *records[:poison],
                Record(spoilt, records[poison].key, records[poison].timestamp),
                *records[poison + 1 :],
            ],
        )
        wait_until_done(setup)
        assert worker.terminate() == 0
        said = worker.said()
    (failed,) = [
        r for r in read_topic(kafka, setup.topic("dead")) if dict(r.headers)["dead-reason"] == b"failed"
    ]
    assert failed.value == spoilt
    assert dict(failed.headers)["dead-message"] == b"the processor raised ZeroDivisionError"
    assert f"the record at offset {poison} of partition 0 was set aside as failed" in said
    assert "ZeroDivisionError: injected" in said
    completed = read_topic(kafka, setup.topic("completed"))
    assert all(marker.encode() not in r.value for r in completed), "the state was not half changed"
    # The same calls without that record, in a group of their own, end in the same way.
    other = Setup(kafka, partitions=1)
    other.create()
    produce(kafka, other.calls, [*records[:poison], *records[poison + 1 :]])
    with Worker(other, tmp_path / "other") as worker:
        wait_until_done(other)
        assert worker.terminate() == 0
    expected = [_without_source(r) for r in read_topic(kafka, other.topic("completed"))]
    assert [_without_source(r) for r in completed] == expected


def _closing(setup: Setup, records: list[Record]) -> Iterator[int]:
    """Which of the records close an open call: all functions but `begin` have to do with them."""
    partition = processors(setup)(0)
    for number, each in enumerate(records):
        before = len(partition.open)
        assert each.timestamp is not None
        read = [(number, each.timestamp, each.key, each.value, list(each.headers))]
        while not partition.process(read, WALL):
            pass  # much is due
        if len(partition.open) < before:
            yield number


def _without_source(record: Record) -> tuple[object, object, object]:
    return (
        record.key,
        record.value.partition(b'"source"')[0],
        record.value.partition(b'"offset":')[2].partition(b"}")[2],
    )


@pytest.mark.parametrize(
    "rejects", [100_000, pytest.param(2_000_000, marks=(pytest.mark.slow, pytest.mark.timeout(900)))]
)
def test_a_flood_of_rejects_is_neither_slow_nor_large(
    kafka: str, tmp_path: Path, seed: int, rejects: int
) -> None:
    setup = Setup(kafka, partitions=2)
    setup.create()
    with Worker(setup, tmp_path / "log") as worker:
        produce_calls(kafka, setup.calls, 200, seed)
        wait_until_done(setup)
        sizes, rates = [_memory(worker)], []
        for _ in range(4):
            produce(kafka, setup.calls, [Record(b'{"id": 7}', b"%d" % n) for n in range(rejects // 4)])
            begun = time.monotonic()
            wait_until_done(setup, timeout=100)
            rates.append(rejects / 4 / (time.monotonic() - begun))
            sizes.append(_memory(worker))
        produce_calls(kafka, setup.calls, 200, seed + 1)
        wait_until_done(setup)
        assert worker.terminate() == 0
    # One of them may be slow because of what else the machine does.
    assert max(rates[-2:]) > rates[0] / 5, f"slows down: {rates}"
    # To keep a reject would take 100 bytes at least; buffers and the allocator are warm after a million or so.
    assert sizes[-1] - sizes[-2] < 8 * 2**20 + rejects / 4 * 10, f"grows: {sizes}"
    check_exactly_once(setup)


@pytest.mark.parametrize("stamps", ["CreateTime", "LogAppendTime"])
def test_dead_letters_say_the_records_own_timestamp_and_have_that_of_the_writing(
    kafka: str, tmp_path: Path, stamps: str
) -> None:
    setup = Setup(kafka, partitions=1)
    create_topics(kafka, setup.calls, config={"message.timestamp.type": stamps})
    setup.create_outputs()
    now = int(time.time() * 1000)

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
            for timestamps in ([-1, -1], [now, now - 5_000, -1], [-1], [now]):
                batch = producer.create_batch()
                for timestamp in timestamps:
                    batch.append(key=b"x", value=b"?", timestamp=timestamp)
                batch.close()
                await (await producer.send_batch(batch, setup.calls, partition=0))

    asyncio.run(send())
    run_until_caught_up(setup, tmp_path / "log")
    check_exactly_once(setup)
    dead = read_topic(kafka, setup.topic("dead"))
    said = [int(dict(r.headers)["dead-timestamp"] or b"") for r in dead]
    own = [r.timestamp for r in read_topic(kafka, setup.calls)]
    assert said == [-1 if timestamp is None else timestamp for timestamp in own]
    assert len(dead) == 7
    assert (-1 in said) == (stamps == "CreateTime")
    assert all(r.timestamp is not None and now < r.timestamp < now + 60_000 for r in dead)


def test_a_record_that_the_broker_refuses_stops_the_worker_before_anything_is_committed(
    kafka: str, tmp_path: Path, seed: int
) -> None:
    """aiokafka commits a transaction without a batch that was refused, as plain Faust does: events are lost then."""
    setup = Setup(kafka, partitions=1)
    create_topics(kafka, setup.calls)
    setup.create_outputs()
    with Worker(setup, tmp_path / "log") as worker:
        wait_for("partitions", worker.assignments)
        configure(kafka, setup.topic("completed"), {"max.message.bytes": "300"})
        produce_calls(kafka, setup.calls, 200, seed)
        assert worker.ends(40) == 1
        assert f"Set max.message.bytes of {setup.topic('completed')} to" in worker.said()
    assert read_topic(kafka, setup.topic("completed")) == []
    configure(kafka, setup.topic("completed"), {"max.message.bytes": "2097152"})
    run_until_caught_up(setup, tmp_path / "log")
    check_exactly_once(setup)


def _memory(worker: Worker) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1]) * 4096
