"""Record batches of Kafka's format 2, read and written where aiokafka is stricter than the brokers are.

To Kafka the name of a header is any bytes; to aiokafka it is UTF-8. Here a name that is not keeps its bytes as lone
surrogates. To Kafka the size of a record is that of its batch as it is compressed, so a megabyte may be gigabytes; to
aiokafka all of them are one object. Here they are read as they are decompressed, and what is too large is left out.
This is plain Python, ten times as slow as aiokafka's own, and only for batches that aiokafka does not take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, NamedTuple

from aiokafka.codec import zstd_encode
from aiokafka.record.util import calc_crc32c

from streams.engine.decompression import ZSTD, expands, pieces
from streams.records import Headers, LeftOut, Record

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
_LONG: Final = 1 << 63

MAX_BATCH_BYTES: Final = 64 << 20
"""Of the records of a batch, decompressed: more are not held in memory at once."""

MAX_RECORD_BYTES: Final = 16 << 20
"""Of a record: what is larger is read without its value (`LeftOut`). To decode one may take ninety times its size."""


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


def decompressed(batch: bytes) -> bytes | None:
    """A batch without compression, of which aiokafka need not know how large it becomes; None: too large for that.

    The same batch where it cannot become too large. Its checksum is not that of the new one. Raises as `read`.
    """
    base, _, epoch, magic, crc = _PREFIX.unpack_from(batch)
    attributes, *rest = _REST.unpack_from(batch, _PREFIX.size)
    if not expands(attributes & _CODEC, batch[HEADER_BYTES:], MAX_BATCH_BYTES):
        return batch
    found, size = [], 0
    for piece in pieces(attributes & _CODEC, batch[HEADER_BYTES:]):
        found.append(piece)
        size += len(piece)
        if size > MAX_BATCH_BYTES:
            return None
    prefix = _PREFIX.pack(base, HEADER_BYTES - _LENGTH_ENDS + size, epoch, magic, crc)
    return b"".join([prefix, _REST.pack(attributes & ~_CODEC, *rest), *found])


def read(batch: bytes) -> Iterator[Found]:
    """The records of a batch. Raises, now or on the way, whatever its decompression does, IndexError or ValueError."""
    base, *_ = _PREFIX.unpack_from(batch)
    attributes, _, first, latest, _, _, _, count = _REST.unpack_from(batch, _PREFIX.size)
    flow = _Flow(pieces(attributes & _CODEC, batch[HEADER_BYTES:]))

    def stamp(elapsed: int) -> int:
        return latest if attributes & _LOG_APPEND_TIME else _int64(first + elapsed)

    for _ in range(count):
        length = flow.varint()
        if length <= 0:
            raise ValueError(f"a record of {length} bytes")
        yield (_record if length <= MAX_RECORD_BYTES else _large)(flow, length, base, stamp)


def bounded(record: Record) -> Record:
    """A record that aiokafka has read, as `read` would give it: without a value that is too large."""
    value = record[3]
    if value is None or len(value) <= MAX_RECORD_BYTES:
        return record
    return (*record[:3], _left_out(value), record[4])


def _record(flow: _Flow, length: int, base: int, stamp: Callable[[int], int]) -> Found:
    data = flow.take(length)
    elapsed, at = _varint(data, 1)  # after the record's attributes, which say nothing
    delta, at = _varint(data, at)
    key, at = _bytes(data, at)
    value, at = _bytes(data, at)
    headers, at = _headers(data, at)
    if at != length:
        raise ValueError(f"a record of {length} bytes ends after {at}")
    return Found(base + delta, stamp(elapsed), key, value, headers)


def _large(flow: _Flow, length: int, base: int, stamp: Callable[[int], int]) -> Found:
    """A record that is never in memory as a whole: what is too large of it is skipped."""
    begun = flow.taken
    flow.skip(1)
    elapsed, delta = flow.varint(), flow.varint()
    key, value = _bounded(flow), _bounded(flow)
    left = length - (flow.taken - begun)
    if left < 0:
        raise ValueError(f"a record of {length} bytes ends after {length - left}")
    if isinstance(key, LeftOut):
        key = None
    if left > MAX_RECORD_BYTES:
        flow.skip(left)
        # Without its headers nobody can say what a value means.
        return Found(base + delta, stamp(elapsed), key, value and _left_out(value), [])
    data = flow.take(left)
    headers, at = _headers(data, 0)
    if at != left:
        raise ValueError(f"a record of {length} bytes ends after {length - left + at}")
    return Found(base + delta, stamp(elapsed), key, value, headers)


def _bounded(flow: _Flow) -> bytes | None:
    """The bytes that come next, or none."""
    length = flow.varint()
    if length < 0:
        return None
    if length <= MAX_RECORD_BYTES:
        return flow.take(length)
    flow.skip(length)
    return LeftOut(length)


def _left_out(value: bytes) -> LeftOut:
    return value if isinstance(value, LeftOut) else LeftOut(len(value))


def _headers(data: bytes, at: int) -> tuple[list[tuple[str, bytes | None]], int]:
    """Headers, and where they end."""
    count, at = _varint(data, at)
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, at = _bytes(data, at)
        content, at = _bytes(data, at)
        headers.append((decode_name(name or b""), content))
    return headers, at


class _Flow:
    """Bytes that come in pieces. Raises ValueError where they end too early."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source
        self._data, self._at = b"", 0
        #: How many have been taken or skipped.
        self.taken = 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        self._fill(count)
        if len(self._data) - self._at < count:
            raise ValueError(f"the batch ends {count - len(self._data) + self._at} bytes too early")
        found = self._data[self._at : self._at + count]
        self._at += count
        self.taken += count
        return found

    def skip(self, count: int) -> None:
        """Go past the next bytes."""
        while count:
            self._fill(1)
            step = min(count, len(self._data) - self._at)
            if not step:
                raise ValueError(f"the batch ends {count} bytes too early")
            self._at += step
            self.taken += step
            count -= step

    def varint(self) -> int:
        """The next number."""
        self._fill(_LONGEST_VARINT)
        number, end = _varint(self._data, self._at)
        self.taken += end - self._at
        self._at = end
        return number

    def _fill(self, count: int) -> None:
        """Have so many bytes at hand, or all that are left."""
        missing = count - (len(self._data) - self._at)
        if missing <= 0:
            return
        parts = [self._data[self._at :]]
        while missing > 0 and (piece := next(self._source, None)) is not None:
            parts.append(piece)
            missing -= len(piece)
        self._data, self._at = b"".join(parts), 0


_LONGEST_VARINT: Final = 10


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
