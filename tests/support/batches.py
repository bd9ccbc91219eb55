"""Record batches as bytes, and a produce request that sends them unchanged, which no client library does."""

from __future__ import annotations

import gzip
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from aiokafka.codec import lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.util import calc_crc32c

RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes | None]]
CODECS = {0: bytes, 1: gzip.compress, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}


@dataclass(frozen=True)
class RawRecord:
    """A record as it is on the wire: names of headers are bytes; a timestamp of -1 is none."""

    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: RawHeaders = ()


def encoded(records: Sequence[RawRecord], codec: int = 0) -> bytes:
    """A record batch of format 2."""
    base = records[0].timestamp
    body = b"".join(_record(record, number, base) for number, record in enumerate(records))
    after_crc = struct.pack(
        ">hiqqqhii",
        codec,
        len(records) - 1,
        base,
        max(record.timestamp for record in records),
        -1,
        -1,
        -1,
        len(records),
    ) + bytes(CODECS[codec](body))
    crc = struct.pack(">I", calc_crc32c(after_crc))
    return struct.pack(">qiib", 0, 4 + 1 + 4 + len(after_crc), -1, 2) + crc + after_crc


def _record(record: RawRecord, number: int, base: int) -> bytes:
    headers = b"".join(_framed(name) + _framed(value) for name, value in record.headers)
    content = (
        b"\0"
        + _varint(record.timestamp - base)
        + _varint(number)
        + _framed(record.key)
        + _framed(record.value)
        + _varint(len(record.headers))
        + headers
    )
    return _varint(len(content)) + content


def _framed(data: bytes | None) -> bytes:
    return _varint(-1) if data is None else _varint(len(data)) + data


def _varint(number: int) -> bytes:
    left, found = (number << 1) ^ (number >> 63), bytearray()
    left &= (1 << 64) - 1
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*found, left])


class Wire:
    """A connection to a broker that is the leader of everything."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)

    def close(self) -> None:
        self._socket.close()

    def produce(self, topic: str, partition: int, batch: bytes) -> tuple[int, int, int]:
        """The broker's error code (0: none), the offset of the first record, and when it was appended (epoch ms).

        The latter is -1 where the topic keeps the records' own timestamps.
        """
        name = topic.encode()
        body = struct.pack(">hhih", 0, 7, 1, -1)  # Produce, version 7, correlation, no client id
        body += struct.pack(">hhi", -1, -1, 30_000)  # no transaction, all acknowledge
        body += struct.pack(">ih", 1, len(name)) + name + struct.pack(">ii", 1, partition)
        body += struct.pack(">i", len(batch)) + batch
        self._socket.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", self._read(4))
        answer = self._read(size)
        at = 4 + 4 + 2 + len(name) + 4
        _, error, offset, appended = struct.unpack_from(">ihqq", answer, at)
        return error, offset, appended

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = self._socket.recv(size - len(found))
            assert part, "the broker has closed the connection"
            found += part
        return found
