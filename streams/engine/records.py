"""Record batches of Kafka's format 2, read and written where aiokafka is stricter than the brokers are.

To Kafka the name of a header is any bytes; to aiokafka it is UTF-8. Here a name that is not keeps its bytes as lone
surrogates. This is plain Python, ten times as slow as aiokafka's own, and only for batches that aiokafka does not take.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from aiokafka.codec import lz4_decode, snappy_decode, zstd_decode, zstd_encode
from aiokafka.record.util import calc_crc32c

from streams.records import Headers

#: Base offset, length of what follows, leader's epoch, magic, CRC.
_PREFIX: Final = Struct(">qiibI")
#: What the CRC is of, up to the records: attributes, last offset's delta, first and last timestamp, the producer's id
#: and epoch, base sequence, number of records.
_REST: Final = Struct(">hiqqqhii")
_LENGTH_ENDS: Final = 12
HEADER_BYTES: Final = _PREFIX.size + _REST.size
"""Of a batch without its records."""

# Attributes.
_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL = 0x07, 0x08, 0x10
ZSTD: Final = 4
_DECODERS: Final = {2: snappy_decode, 3: lz4_decode, ZSTD: zstd_decode}
_LONG: Final = 1 << 63


class Found(NamedTuple):
    """A record that was read; the names are those of aiokafka's."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def decode_name(name: bytes) -> str:
    """The name of a header; bytes that are not UTF-8 become lone surrogates."""
    return name.decode("utf-8", "surrogateescape")


def encode_name(name: str) -> bytes:
    """The bytes that `decode_name` was given."""
    return name.encode("utf-8", "surrogateescape")


def slice_at(batches: bytes, base_offset: int) -> bytes:
    """Of several batches, one after another, that which begins at an offset. Raises ValueError when there is none."""
    start = 0
    while start + HEADER_BYTES <= len(batches):
        found, length, *_ = _PREFIX.unpack_from(batches, start)
        end = start + _LENGTH_ENDS + length
        if found == base_offset:
            return batches[start:end]
        start = end
    raise ValueError(f"no batch begins at offset {base_offset}")


def read(batch: bytes) -> Iterator[Found]:
    """The records of a batch. Raises, now or on the way, whatever its decompression does, IndexError or ValueError."""
    base, *_ = _PREFIX.unpack_from(batch)
    attributes, _, first, latest, _, _, _, count = _REST.unpack_from(batch, _PREFIX.size)
    data, at = _decompressed(attributes & _CODEC, batch[HEADER_BYTES:]), 0
    for _ in range(count):
        length, at = _varint(data, at)
        end = at + length
        if not at < end <= len(data):
            raise ValueError(f"a record of {length} bytes does not fit into its batch")
        elapsed, at = _varint(data, at + 1)  # after the record's attributes, which say nothing
        timestamp = latest if attributes & _LOG_APPEND_TIME else _int64(first + elapsed)
        delta, at = _varint(data, at)
        key, at = _bytes(data, at)
        value, at = _bytes(data, at)
        named, at = _varint(data, at)
        headers: list[tuple[str, bytes | None]] = []
        for _ in range(named):
            name, at = _bytes(data, at)
            content, at = _bytes(data, at)
            headers.append((decode_name(name or b""), content))
        if at != end:
            raise ValueError(f"a record of {length} bytes ends after {length + at - end}")
        yield Found(base + delta, timestamp, key, value, headers)


def _decompressed(codec: int, data: bytes) -> bytes:
    if not codec:
        return data
    return _gunzip(data) if codec == 1 else _DECODERS[codec](data)


def _gunzip(data: bytes) -> bytes:
    """As Java, which takes no notice of what follows on a member and is none."""
    parts: list[bytes] = []
    while data:
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(data))
        except zlib.error:
            if parts:
                break
            raise
        data = member.unused_data
    return b"".join(parts)


def _int64(number: int) -> int:
    """As Java's arithmetic has it, which overflows."""
    return (number + _LONG) % (2 * _LONG) - _LONG


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    byte = data[at]
    number, shift = byte & 0x7F, 7
    while byte & 0x80:
        at += 1
        byte = data[at]
        number |= (byte & 0x7F) << shift
        shift += 7
    return (number >> 1) ^ -(number & 1), at + 1


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Bytes or none, and where they end."""
    length, at = _varint(data, at)
    return (None, at) if length < 0 else (data[at : at + length], at + length)


class Builder:
    """As aiokafka's `DefaultRecordBatchBuilder`, for header names of any bytes; compresses before it is built."""

    def __init__(self, limit: int) -> None:
        """`limit` is the greatest size (bytes) of the batch, unless its first record alone is larger."""
        self._limit = limit
        self._body = bytearray()
        self._first = self._latest = 0
        self._count = self._attributes = 0
        self._state = (-1, -1, 0)

    def append(
        self, offset: int, timestamp: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> int | None:
        """Add a record; returns its size, None when it does not fit. `offset` counts from 0."""
        if not self._count:
            self._first = self._latest = timestamp
        record = bytearray(1)  # its attributes
        record += _encoded(_int64(timestamp - self._first)) + _encoded(offset) + _framed(key) + _framed(value)
        record += _encoded(len(headers))
        for name, content in headers:
            record += _framed(encode_name(name)) + _framed(content)
        framed = _framed(record)
        if self._count and self.size() + len(framed) > self._limit:
            return None
        self._latest = max(self._latest, timestamp)
        self._count += 1
        self._body += framed
        return len(framed)

    def compress(self) -> None:
        """Compress the records, the last of which has been added."""
        self._body = bytearray(zstd_encode(bytes(self._body)))
        self._attributes = ZSTD

    def size(self) -> int:
        """Bytes of the batch by now."""
        return HEADER_BYTES + len(self._body)

    def set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        """Who writes the batch, in a transaction."""
        self._state = (producer_id, producer_epoch, base_sequence)

    def build(self) -> bytes:
        """The batch."""
        rest = bytearray(
            _REST.pack(
                self._attributes | _TRANSACTIONAL,
                self._count - 1,
                self._first,
                self._latest,
                *self._state,
                self._count,
            )
        )
        rest += self._body
        crc = calc_crc32c(rest)
        return _PREFIX.pack(0, _PREFIX.size - _LENGTH_ENDS + len(rest), -1, 2, crc) + rest


def _encoded(number: int) -> bytes:
    """As a varint."""
    left = (number << 1) ^ (number >> 63)
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def _framed(data: bytes | bytearray | None) -> bytes:
    return b"\x01" if data is None else _encoded(len(data)) + data
