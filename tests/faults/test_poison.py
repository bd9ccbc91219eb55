"""Records that break the code, and floods of records that are refused."""

import time
from pathlib import Path

import pytest
from support.inject import raise_on
from support.kafka import Record, produce, read_topic
from support.load import produce_calls, simulated
from support.worker import Setup, Worker, check_exactly_once, wait_until_done

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.mark.parametrize("function", ["begin", "apply", "record"])
def test_a_record_on_which_the_code_raises_is_set_aside_and_the_partition_goes_on(
    kafka: str, tmp_path: Path, seed: int, function: str
) -> None:
    """The call's other events are applied as if that one had never come."""
    setup = Setup(kafka, partitions=1)
    setup.create()
    records = simulated(60, seed)
    poison = [n for n, each in enumerate(records) if b"completed" in each.value][5]
    if function == "begin":
        poison = 0
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


def _without_source(record: Record) -> tuple[object, object, object]:
    return (
        record.key,
        record.value.partition(b'"source"')[0],
        record.value.partition(b'"offset":')[2].partition(b"}")[2],
    )


@pytest.mark.parametrize("rejects", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
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
    assert sizes[-1] < sizes[1] * 1.15 + 8 * 2**20, f"grows: {sizes}"
    check_exactly_once(setup)


def _memory(worker: Worker) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1]) * 4096
