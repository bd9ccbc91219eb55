"""Record batches: what aiokafka reads and writes we read and write alike, and what it does not, Kafka's way."""

import asyncio
import gzip
import random
import struct
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from streams.engine import fetch
from streams.engine.fetch import UnreadableError, drain
from streams.engine.records import (
    HEADER_BYTES,
    MAX_RECORD_BYTES,
    Builder,
    decode_name,
    encode_name,
    read,
    slice_at,
)
from streams.records import LeftOut, Record

CODECS = range(5)


def made(seed: int, names: list[str]) -> list[tuple[Any, ...]]:
    """Timestamps, keys, values and headers of some records."""
    rnd = random.Random(seed)
    begin = rnd.choice([5, 10**12])
    return [
        (
            begin + rnd.randint(-5, 10**6),
            rnd.choice([None, b"", b"k" * rnd.randint(1, 300)]),
            rnd.choice([None, b"", b"v" * rnd.randint(1, 3000)]),
            [(rnd.choice(names), rnd.choice([None, b"", b"x" * 200])) for _ in range(rnd.randint(0, 3))],
        )
        for _ in range(rnd.randint(1, 20))
    ]


def built(builder: Any, records: list[tuple[Any, ...]]) -> bytes:
    for number, record in enumerate(records):
        assert builder.append(number, *record) is not None
    return bytes(builder.build())


def theirs(codec: int) -> Any:
    return DefaultRecordBatchBuilder(2, codec, 1, 7, 3, 11, 1 << 28)


def numbered(records: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(number, *record) for number, record in enumerate(records)]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("seed", range(5))
def test_what_aiokafka_writes_is_read_alike(codec: int, seed: int) -> None:
    records = made(seed, ["", "é", "content-type", "a"])
    assert [tuple(each) for each in read(built(theirs(codec), records))] == numbered(records)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_written_aiokafka_reads_alike(seed: int, compressed: bool) -> None:
    records = made(seed, ["", "é", "content-type", "a"])
    builder = Builder(1 << 20)
    for number, record in enumerate(records):
        builder.append(number, *record)
    if compressed:
        builder.compress()
    builder.set_producer_state(7, 3, 11)
    size, data = builder.size(), builder.build()
    assert size == len(data)
    batch: Any = fetcher.MemoryRecords(data).next_batch()
    assert batch.validate_crc()
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, 3, 11)
    assert batch.is_transactional
    assert bool(batch.compression_type) is compressed
    assert [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in batch] == numbered(records)


def test_a_builder_takes_what_fits_and_one_record_in_any_case() -> None:
    builder = Builder(1_000)
    assert builder.append(0, 5, None, bytes(2_000), []) is not None
    assert builder.append(1, 5, None, b"", []) is None
    builder = Builder(1_000)
    count = 0
    while builder.append(count, 5, None, bytes(100), []) is not None:
        count += 1
    assert 900 < len(builder.build()) <= 1_000
    assert count == 8


@pytest.mark.parametrize("first", [-(2**63), -1, 0, 2**63 - 1])
@pytest.mark.parametrize("second", [-(2**63), -1, 0, 2**63 - 1])
def test_any_timestamps_lie_beside_each_other(first: int, second: int) -> None:
    builder = Builder(1_000)
    builder.append(0, first, None, None, [])
    builder.append(1, second, None, None, [])
    assert [each.timestamp for each in read(builder.build())] == [first, second]


def test_a_name_of_any_bytes_stays_what_it_is() -> None:
    name = bytes(range(256))
    assert encode_name(decode_name(name)) == name


def test_of_several_batches_the_one_at_an_offset_is_found() -> None:
    one, two = (built(theirs(0), made(seed, ["a"])) for seed in (1, 2))
    moved = struct.pack(">q", 40) + two[8:]
    assert slice_at(one + moved, 40) == moved
    with pytest.raises(ValueError, match="no batch begins at offset 41"):
        slice_at(one + moved, 41)


# -- through the fetcher's classes


def resealed(batch: bytearray) -> bytes:
    """With its length and its checksum."""
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    struct.pack_into(">I", batch, 17, calc_crc32c(batch[21:]))
    return bytes(batch)


class Result:
    """As the fetcher has it of one partition."""

    def __init__(self, data: bytes, first: int = 0) -> None:
        self._partition_records = fetcher.PartitionRecords(
            TopicPartition("topic", 0), fetcher.MemoryRecords(data), [], first, None, None, True, 1
        )

    def _update_position(self) -> None: ...


def taken(data: bytes, limit: int = 1 << 30, first: int = 0) -> list[Record]:
    result, found = Result(data, first), list[Record]()
    while True:
        batch = fetch._take(result, TopicPartition("topic", 0), limit)
        assert len(batch.records) <= limit
        assert batch.first == first
        found += batch.records
        first = batch.next_offset
        if not fetch._has_more(result):
            return found


def emptied(offset: int, attributes: int) -> bytes:
    """A batch as compaction leaves the last one of a producer when all its records are gone."""
    header = struct.pack(">qiibIhiqqqhii", offset, 0, 0, 2, 0, attributes, 0, -1, 5, 7, 0, -1, 0)
    return resealed(bytearray(header))


@pytest.mark.parametrize("attributes", [0x10, 0x30], ids=["of records", "of a marker"])
def test_a_batch_without_records_is_passed(attributes: int) -> None:
    """Kafka's own client takes such a marker for none; aiokafka's ends with an error."""
    before, after = (built(theirs(0), [(5, None, name, [])]) for name in (b"before", b"after"))
    data = before + emptied(1, attributes) + struct.pack(">q", 2) + after[8:]
    assert [(record[0], record[3]) for record in taken(data)] == [(0, b"before"), (2, b"after")]
    result = Result(emptied(1, attributes), 1)
    assert fetch._take(result, TopicPartition("topic", 0), 10).next_offset == 2


def latin(codec: int, count: int = 3) -> bytes:
    """Of the records of a batch, the second has the name."""
    batch = built(
        theirs(codec),
        [(5, None, b"%d" % n, [("Ger__t" if n == 1 else "name", b"")]) for n in range(count)],
    )
    if codec == 0:
        return resealed(bytearray(batch.replace(b"\x0cGer__t", b"\x0cGer\xe4\xe4t")))
    builder = Builder(1 << 20)
    for n in range(count):
        builder.append(n, 5, None, b"%d" % n, [(decode_name(b"Ger\xe4\xe4t") if n == 1 else "name", b"")])
    if codec == 4:
        builder.compress()
        return builder.build()
    from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode

    plain = builder.build()
    packed = {1: gzip_encode, 2: snappy_encode, 3: lz4_encode}[codec](plain[HEADER_BYTES:])
    head = bytearray(plain[:HEADER_BYTES])
    head[22] |= codec
    return resealed(head + packed)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_names_that_are_not_utf8_are_read_whatever_the_codec_and_where_one_begins(
    codec: int, limit: int, first: int
) -> None:
    expected = [
        (n, 5, None, b"%d" % n, [(decode_name(b"Ger\xe4\xe4t") if n == 1 else "name", b"")]) for n in range(3)
    ]
    assert taken(latin(codec), limit, first) == expected[first:]


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_of_many_records_is_taken_in_pieces_and_read_by_aiokafka(
    codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = built(theirs(codec), [(5, None, b"%d" % n, []) for n in range(1_000)])
    monkeypatch.setattr("streams.engine.records.read", Mock(side_effect=AssertionError("it is slow")))
    assert taken(data, 300) == [(n, 5, None, b"%d" % n, []) for n in range(1_000)]
    assert taken(data, 250, 100) == [(n, 5, None, b"%d" % n, []) for n in range(100, 1_000)]


def test_large_records_in_a_few_compressed_bytes_are_taken_a_few_at_a_time() -> None:
    data = built(theirs(4), [(5, None, b"%d" % n + bytes(1_000_000), []) for n in range(100)])
    assert len(data) < 100_000
    result, sizes = Result(data), []
    while not sizes or fetch._has_more(result):
        batch = fetch._take(result, TopicPartition("topic", 0), 2_000)
        sizes.append(sum(len(record[3] or b"") for record in batch.records))
    assert sum(sizes) > 100_000_000
    assert max(sizes) < 20_000_000


LARGE = MAX_RECORD_BYTES + 1_000_000


@pytest.mark.parametrize("codec", [1, 3, 4])
@pytest.mark.parametrize("first", [0, 2, 4])
def test_of_records_that_are_too_large_to_be_held_the_rest_is_read(codec: int, first: int) -> None:
    """A value, a key, and headers: what is too large of them is left out, and those around are what they are."""
    small, named = b"v" * 100, [("name", b"content")]
    data = built(
        theirs(codec),
        [
            (5, b"a", small, named),
            (6, b"b", bytes(LARGE), named),
            (7, bytes(LARGE), small, named),
            (8, b"d", small, [("name", bytes(LARGE))]),
            (9, b"e", None, [("name", bytes(LARGE))]),
            (10, b"f", bytes(MAX_RECORD_BYTES - 1_000), []),
            (11, b"g", small, named),
        ],
    )
    found = taken(data, 100, first)
    assert (
        found
        == [
            (0, 5, b"a", small, named),
            (1, 6, b"b", b"", named),
            (2, 7, None, small, named),
            (3, 8, b"d", b"", []),
            (4, 9, b"e", None, []),
            (5, 10, b"f", bytes(MAX_RECORD_BYTES - 1_000), []),
            (6, 11, b"g", small, named),
        ][first:]
    )
    left_out = {each[0]: each[3].size for each in found if isinstance(each[3], LeftOut)}
    assert left_out == {offset: size for offset, size in ((1, LARGE), (3, 100)) if offset >= first}


@pytest.mark.parametrize("codec", CODECS)
def test_a_value_that_is_too_large_is_left_out_of_any_batch(codec: int) -> None:
    data = built(theirs(codec), [(5, b"a", b"v", []), (6, b"b", bytes(LARGE), [("name", b"")])])
    found = taken(data)
    assert found == [(0, 5, b"a", b"v", []), (1, 6, b"b", b"", [("name", b"")])]
    assert isinstance(found[1][3], LeftOut)
    assert found[1][3].size == LARGE


@pytest.mark.parametrize("codec", [1, 3, 4])
def test_what_may_become_large_and_does_not_is_read_by_aiokafka(
    codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [(5, None, random.Random(n).randbytes(20_000), [("a", b"b")]) for n in range(60)]
    data = built(theirs(codec), records)
    monkeypatch.setattr("streams.engine.records.read", Mock(side_effect=AssertionError("it is slow")))
    monkeypatch.setattr("streams.engine.records.MAX_BATCH_BYTES", 2_000_000)
    assert taken(data, 7) == numbered(records)


def test_a_batch_that_becomes_large_and_is_damaged_at_its_end_is_named() -> None:
    data = bytearray(built(theirs(4), [(5, None, bytes(30_000_000), [])] * 5))
    with pytest.raises(UnreadableError, match=r"offset 0 of topic partition 0 .* is not skipped"):
        taken(resealed(data[:-9]))


def test_bytes_after_the_end_of_a_gzip_stream_say_nothing_to_java_and_to_us() -> None:
    batch = built(theirs(1), [(5, b"k", b"v", [])])
    assert taken(resealed(bytearray(batch + b"behind"))) == [(0, 5, b"k", b"v", [])]
    two = batch[:HEADER_BYTES] + b"".join(
        gzip.compress(part)
        for part in (gzip.decompress(batch[HEADER_BYTES:])[:4], gzip.decompress(batch[HEADER_BYTES:])[4:])
    )
    assert taken(resealed(bytearray(two + b"behind"))) == [(0, 5, b"k", b"v", [])]


@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_batch_is_named_and_not_skipped(codec: int) -> None:
    batch = bytearray(built(theirs(codec), [(5, b"k", b"v", [])] * 3))
    with pytest.raises(UnreadableError, match=r"offset 0 of topic partition 0 .* checksum"):
        taken(bytes(batch[:-3]) + b"???")
    with pytest.raises(UnreadableError, match=r"offset 0 of topic partition 0 .* is not skipped"):
        taken(resealed(batch[: HEADER_BYTES + 6]))


# -- through a broker


class Raw(BatchBuilder):
    """A batch that is written as it is given."""

    def __init__(self, data: bytes, count: int) -> None:
        super().__init__(1, 0)
        self._buffer, self._relative_offset = data, count
        self.close()

    def _set_producer_state(self, *_: object) -> None: ...


@pytest.mark.kafka
def test_whatever_a_broker_has_taken_is_read(kafka: str, make_topic: Callable[..., str]) -> None:
    topic = make_topic()
    batches = [(latin_untransactional(codec), 3) for codec in CODECS]

    async def go() -> list[Record]:
        async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
            for data, count in batches:
                await (await producer.send_batch(Raw(data, count), topic, partition=0))
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([TopicPartition(topic, 0)])
            found: list[Record] = []
            async with asyncio.timeout(30):
                while len(found) < 15:
                    await asyncio.wait([consumer._fetcher._create_fetch_waiter()], timeout=0.1)
                    found += [each for batch in drain(consumer._fetcher, (), 2) for each in batch.records]
            return found
        finally:
            await consumer.stop()

    found = asyncio.run(go())
    assert [each[0] for each in found] == list(range(15))
    assert [each[4][0][0] for each in found] == ["name", decode_name(b"Ger\xe4\xe4t"), "name"] * 5


def latin_untransactional(codec: int) -> bytes:
    batch = bytearray(latin(codec))
    batch[22] &= 0x07
    batch[HEADER_BYTES - 18 : HEADER_BYTES - 4] = struct.pack(">qhi", -1, -1, -1)
    return resealed(batch)
