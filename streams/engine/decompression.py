"""Decompression in bounded memory: a record batch of a megabyte may be one of gigabytes.

The libraries decompress into one object. Only gzip can be asked for a part; the others write what they find into a
pipe, from a thread of their own, and wait there until it is read.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Thread
from typing import Any, Final

import cramjam
from aiokafka.codec import snappy_decode

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
"""The codecs of record batches; 0 is none."""

_PIECE: Final = 1 << 20
#: How many times as large data can become, by codec. That of zstd is what its blocks say.
_MOST: Final = {0: 1, GZIP: 1032, SNAPPY: 22, LZ4: 255}


def expands(codec: int, data: bytes, limit: int) -> bool:
    """Whether data may become larger than `limit` bytes when it is decompressed."""
    most = _zstd_bound(data) if codec == ZSTD else len(data) * _MOST[codec]
    return most is None or most > limit


def pieces(codec: int, data: bytes) -> Iterator[bytes]:
    """What data is when it is decompressed, a few megabytes of memory at a time. Raises as the codec's library does."""
    if codec == GZIP:
        return _gunzip(data)
    if codec == LZ4:
        return _through_pipe(cramjam.lz4.decompress_into, data)
    if codec == ZSTD:
        return _through_pipe(cramjam.zstd.decompress_into, data)
    return iter([snappy_decode(data) if codec == SNAPPY else data])


def _gunzip(data: bytes) -> Iterator[bytes]:
    """As Java, which takes no notice of what follows on a member and is none."""
    is_first = True
    while data:
        member = zlib.decompressobj(wbits=31)
        try:
            while not member.eof:
                piece = member.decompress(data, _PIECE)
                data = member.unconsumed_tail
                if piece:
                    yield piece
                elif not data and not member.eof:
                    break
        except zlib.error:
            if is_first:
                raise
            return
        is_first, data = False, member.unused_data


def _through_pipe(decompress_into: Callable[[bytes, Any], object], data: bytes) -> Iterator[bytes]:
    source, sink = os.pipe()
    failures: list[Exception] = []

    def write() -> None:
        try:
            try:
                out = cramjam.File(f"/dev/fd/{sink}", read=False, write=True, truncate=False, append=False)
            finally:
                os.close(sink)
            try:
                decompress_into(data, out)
            finally:
                del out  # closes it: an error would keep this frame, and the reader would wait for ever
        except Exception as error:
            failures.append(error)

    thread = Thread(target=write, name="decompression", daemon=True)
    thread.start()
    try:
        while piece := os.read(source, _PIECE):
            yield piece
    finally:
        os.close(source)  # of what is not read the thread learns by its next write
        thread.join()
    with suppress(IndexError):
        raise failures[0]


def _zstd_bound(data: bytes) -> int | None:
    """The greatest size that the blocks of zstd frames may become (RFC 8878); None when they are not understood."""
    at, bound = 0, 0
    try:
        while at < len(data):
            magic = int.from_bytes(data[at : at + 4], "little")
            if magic & ~0xF == _SKIPPABLE:
                at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
                continue
            if magic != _FRAME:
                return None
            described = data[at + 4]
            is_single, has_checksum = described >> 5 & 1, described >> 2 & 1
            content = (is_single, 2, 4, 8)[described >> 6]
            at += 5 + (not is_single) + (0, 1, 2, 4)[described & 3] + content
            is_last = False
            while not is_last:
                block = int.from_bytes(data[at : at + 3], "little")
                is_last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
                bound += _BLOCK if kind == _COMPRESSED else size
                at += 3 + (1 if kind == _REPEATED else size)
                if at > len(data):
                    return None
            at += 4 * has_checksum
    except IndexError:
        return None
    return bound


_FRAME, _SKIPPABLE = 0xFD2FB528, 0x184D2A50
_REPEATED, _COMPRESSED = 1, 2
#: What one block becomes at most.
_BLOCK: Final = 128 << 10
