"""Which partition of an output a record goes to: no Kafka needed."""

import asyncio
from dataclasses import replace

import pytest

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
