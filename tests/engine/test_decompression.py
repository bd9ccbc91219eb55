"""Decompression in bounded memory: what becomes large is known before, and read in pieces."""

import gzip
import os
import threading
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cramjam
import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine.decompression import GZIP, LZ4, SNAPPY, ZSTD, expands, pieces

ENCODERS: dict[int, Callable[[bytes], bytes]] = {
    0: bytes,
    GZIP: gzip_encode,
    SNAPPY: snappy_encode,
    LZ4: lz4_encode,
    ZSTD: zstd_encode,
}
PIPED = [LZ4, ZSTD]

content = st.lists(
    st.one_of(
        st.binary(max_size=2_000),
        st.tuples(st.binary(max_size=4), st.integers(0, 100_000)).map(lambda each: each[0] * each[1]),
    ),
    max_size=5,
).map(b"".join)


@pytest.mark.parametrize("codec", ENCODERS)
@settings(max_examples=60, deadline=None)
@given(content)
def test_the_pieces_are_the_whole_and_its_size_is_never_underrated(codec: int, data: bytes) -> None:
    data = data or b"a batch has a record"
    packed = ENCODERS[codec](data)
    assert b"".join(pieces(codec, packed)) == data
    assert expands(codec, packed, len(data) - 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(content, min_size=1, max_size=3), st.integers(-5, 19), st.binary(max_size=50))
def test_zstd_frames_of_every_kind_are_measured(parts: list[bytes], level: int, skipped: bytes) -> None:
    skippable = (0x184D2A53).to_bytes(4, "little") + len(skipped).to_bytes(4, "little") + skipped
    packed = b"".join(bytes(cramjam.zstd.compress(part, level=level)) + skippable for part in parts)
    size = sum(map(len, parts))
    assert not size or expands(ZSTD, packed, size - 1)
    # The library may split what would be one block of 128 KiB into several, of which each counts as a full one.
    assert not expands(ZSTD, packed, 16 * (size + len(parts) * (128 << 10)))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_what_is_no_zstd_may_be_of_any_size_or_ends_at_once(data: bytes) -> None:
    expands(ZSTD, data, 1 << 62)
    expands(ZSTD, (0xFD2FB528).to_bytes(4, "little") + data, 1 << 62)


@pytest.mark.parametrize("codec", [GZIP, *PIPED])
def test_a_bomb_is_read_in_little_memory(codec: int) -> None:
    size = 200_000_000
    packed = ENCODERS[codec](bytes(size))
    assert expands(codec, packed, size - 1)
    tracemalloc.start()
    try:
        assert sum(map(len, pieces(codec, packed))) == size
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", PIPED)
def test_what_is_not_read_on_leaves_neither_thread_nor_pipe(codec: int) -> None:
    packed, before = ENCODERS[codec](bytes(50_000_000)), list(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        begun = pieces(codec, packed)
        assert sum(map(len, islice(begun, 3))) > 0
        begun.close()  # type: ignore[attr-defined]
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)
    assert not [each for each in threading.enumerate() if each.name == "decompression"]


@pytest.mark.parametrize("codec", [GZIP, *PIPED])
def test_what_is_damaged_raises(codec: int) -> None:
    packed = ENCODERS[codec](os.urandom(300_000))
    for damaged in (b"damaged", packed[:2] + bytes(2) + packed[4:]):
        with pytest.raises(Exception, match=r"."):
            list(pieces(codec, damaged))


def test_gzip_members_follow_on_one_another() -> None:
    packed = gzip.compress(bytes(3_000_000)) + gzip.compress(b"two") + b"behind"
    assert b"".join(pieces(GZIP, packed)) == bytes(3_000_000) + b"two"
