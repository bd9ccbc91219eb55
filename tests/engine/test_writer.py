"""Which partition of an output a record goes to, and what lies in a batch: no Kafka needed."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.record.memory_records import MemoryRecords

from streams.engine.config import Config
from streams.engine.processor import Output
from streams.engine.writer import Writer, partition_of

CONFIG = Config(
    "group", "in", {"out": "o"}, "changelog", lambda _: None, {"bootstrap_servers": "localhost:1"}
)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("key", "murmur2"),  # as Java has them
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"abc", 479470107),
        (b"a-little-bit-long-string", -985981536),
    ],
)
def test_keys_lie_where_the_default_partitioner_of_java_puts_them(key: bytes, murmur2: int) -> None:
    assert partition_of(key, 1000) == (murmur2 & 0x7FFFFFFF) % 1000


def shares(config: Config, partition: int, keys: list[bytes | None]) -> dict[int, list[bytes | None]]:
    """The keys that go to each of four partitions."""

    async def ask() -> dict[int, list[bytes | None]]:
        writer = Writer(config, partition)

        async def four(_topic: str) -> int:
            return 4

        writer._partitions = four  # type: ignore[method-assign]
        records: list[Output] = [(key, b"", 0, []) for key in keys]
        found = await writer._shares("out", records)
        await writer.stop()
        return {number: [each[0] for each in share] for number, share in found.items()}

    return asyncio.run(ask())


def test_the_partition_follows_the_source_or_the_key() -> None:
    keys = [b"a", None, b"b", b"a", b"c", None]
    assert shares(CONFIG, 6, keys) == {2: keys}
    assert shares(CONFIG, 6, []) == {}
    keyed = shares(replace(CONFIG, keyed=("out",)), 6, keys)
    for number, share in keyed.items():
        assert all(number == (2 if key is None else partition_of(key, 4)) for key in share)
        assert share == [key for key in keys if key in share]  # in order
    assert sum(map(len, keyed.values())) == len(keys)


@pytest.mark.parametrize(
    "timestamps", [[5, 6], [-1, -1], [-1, 500, 400, -1], [-1, -1, 500], [500, -1, 500], [-1] * 3 + [7] * 3]
)
def test_every_record_keeps_its_timestamp_and_those_without_one_have_none(timestamps: list[int]) -> None:
    found: list[tuple[bytes, int]] = []

    async def send() -> int:
        writer = Writer(CONFIG, 0)

        async def submit(batch: Any, n: int, _topic: str, _partition: int) -> None:
            batch.close()
            records = MemoryRecords(bytes(batch._build())).next_batch()
            read = [(record.key, record.timestamp) for record in records]
            assert len(read) == n
            found.extend(read)

        writer._submit = submit  # type: ignore[assignment, method-assign]
        records: list[Output] = [(b"%d" % n, b"", at, []) for n, at in enumerate(timestamps)]
        acks, _ = await writer._send("o", 0, records)
        await writer.stop()
        return len(acks)

    assert asyncio.run(send()) <= 2
    assert found == [(b"%d" % n, at) for n, at in enumerate(timestamps)]
