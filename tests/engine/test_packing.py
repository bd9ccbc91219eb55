"""Records into batches that fit their topic: no Kafka needed."""

import os
from typing import Any

import pytest
from aiokafka.record.memory_records import MemoryRecords

from streams.engine.limits import Limits, limits_of
from streams.engine.packing import BATCH_BYTES, RecordTooLargeError, Shrink, pack
from streams.engine.records import decode_name, read
from streams.records import NOW, Output

WALL = 1_764_000_000_000
ANY_TIME = Limits(retention=-1, after=1 << 62)


def packed(
    records: list[Output], limits: Limits = ANY_TIME, shrink: Shrink | None = None
) -> list[list[tuple[Any, ...]]]:
    """What lies in each batch, as aiokafka reads it or, where it cannot, as we do."""
    batches = []
    for batch in pack("topic", records, limits, WALL, shrink):
        size = batch.size()
        data = bytes(batch._build())
        assert size == len(data) <= limits.max_bytes
        found = list(read(data))
        assert len(found) == batch.record_count()
        assert MemoryRecords(data).next_batch().validate_crc()  # type: ignore[union-attr]
        batches.append([(r.key, r.value, r.timestamp, r.headers) for r in found])
    return batches


def unpacked(batches: list[list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    return [record for batch in batches for record in batch]


@pytest.mark.parametrize(
    "timestamps", [[5, 6], [-1, -1], [-1, 500, 400, -1], [-1, -1, 500], [500, -1, 500], [-1] * 3 + [7] * 3]
)
def test_every_record_keeps_its_timestamp_and_those_without_one_have_none(timestamps: list[int]) -> None:
    batches = packed([(b"%d" % n, b"", at, []) for n, at in enumerate(timestamps)])
    assert len(batches) <= 2
    assert unpacked(batches) == [(b"%d" % n, b"", at, []) for n, at in enumerate(timestamps)]


@pytest.mark.parametrize(
    ("config", "given", "written"),
    [
        ({}, WALL - 3 * 86_400_000, WALL - 3 * 86_400_000),
        ({}, WALL - 4 * 86_400_000, WALL),  # half of Kafka's week has passed
        ({}, 1_764_000_000, WALL),  # seconds
        ({}, WALL + 1_800_000, WALL + 1_800_000),
        ({}, WALL + 3_600_001, WALL),
        ({}, WALL * 1000, WALL),  # microseconds
        ({}, -1, -1),
        ({}, -7, -1),
        ({}, NOW, WALL),
        ({"retention.ms": "-1"}, 0, 0),
        ({"cleanup.policy": "compact", "retention.ms": "1000"}, 0, 0),
        ({"cleanup.policy": "compact,delete", "retention.ms": "1000"}, WALL - 1000, WALL),
        ({"message.timestamp.before.max.ms": "600000"}, WALL - 500_000, WALL - 500_000),
        ({"message.timestamp.before.max.ms": "600000"}, WALL - 600_001, WALL),
        ({"message.timestamp.after.max.ms": str(2**63 - 1)}, WALL * 1000, WALL * 1000),
        ({"message.timestamp.after.max.ms": "0"}, WALL + 1, WALL),
    ],
)
def test_a_timestamp_with_which_a_record_would_not_last_or_not_be_taken_is_the_wall_clocks(
    config: dict[str, str], given: int, written: int
) -> None:
    ((record,),) = packed([(b"k", b"v", given, [])], limits_of(config))
    assert record[2] == written


@pytest.mark.parametrize("limit", [1_000, 10_000, 262_144, 1_048_588, 10 << 20])
def test_batches_fit_their_topic_and_are_no_smaller_than_that_asks_for(limit: int) -> None:
    records: list[Output] = [(b"%d" % n, os.urandom(n % 700), 5, []) for n in range(3_000)]
    batches = packed(records, Limits(limit, -1))
    assert unpacked(batches) == records
    total = sum(len(value or b"") + 20 for _, value, *_ in records)
    assert len(batches) <= total / min(limit - 800, BATCH_BYTES - 800) + 1


def test_a_record_that_fits_only_compressed_is_compressed_and_keeps_its_place() -> None:
    records: list[Output] = [
        (b"a", b"1", 5, []),
        (b"b", b"x" * 50_000, 5, [("h", b"v")]),
        (b"c", b"3", 5, []),
    ]
    batches = packed(records, Limits(2_000, -1))
    assert unpacked(batches) == records
    assert [len(batch) for batch in batches] == [1, 1, 1]


def test_a_record_that_does_not_fit_is_shrunk_until_it_does() -> None:
    noise = os.urandom(5_000)
    asked: list[Output] = []

    def shrink(record: Output) -> Output | None:
        asked.append(record)
        key, value, timestamp, headers = record
        if value is not None:
            return key, None, timestamp, [*headers, ("left-out", b"5000")]
        return (None, None, timestamp, headers[-1:]) if key is not None else None

    records: list[Output] = [(b"a", b"1", 5, []), (b"key", noise, NOW, [("h", b"v")]), (noise, noise, 5, [])]
    assert unpacked(packed(records, Limits(2_000, -1), shrink)) == [
        (b"a", b"1", 5, []),
        (b"key", None, WALL, [("h", b"v"), ("left-out", b"5000")]),
        (None, None, 5, [("left-out", b"5000")]),
    ]
    assert len(asked) == 3


@pytest.mark.parametrize("shrink", [None, lambda _: None])
def test_a_record_that_fits_in_no_form_names_the_topic_and_what_to_set(shrink: Shrink | None) -> None:
    with pytest.raises(RecordTooLargeError) as raised:
        packed([(b"k", os.urandom(5_000), 5, [])], Limits(2_000, -1), shrink)
    assert "the topic topic takes batches of 2000 bytes, and a record for it has 50" in str(raised.value)
    assert "Set max.message.bytes of topic to 8192 or more" in str(raised.value)


@pytest.mark.parametrize("limit", [600, 1 << 20])
def test_names_of_headers_keep_their_bytes(limit: int) -> None:
    odd = decode_name(b"Ger\xe4t")
    records: list[Output] = [
        (b"%d" % n, b"v" * 50, 5, [("a", b"b"), (odd if n % 3 == 1 else "é", None)]) for n in range(40)
    ]
    records.append((b"big", b"x" * 50_000, 5, [(odd, b"")]))
    batches = packed(records, Limits(limit, -1))
    assert unpacked(batches) == records
    assert len(batches) < 40 or limit == 600
