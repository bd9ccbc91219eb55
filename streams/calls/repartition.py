"""Events keyed by call id on their way to one partition a call, and read again there (semantics, section 1).

Two processors: `Repartition` sends every record of a partition of the calls topic on into the internal topic, and
`RepartitionedCalls` applies what lies there. The record goes on as it came; its key, which the call id takes the place
of, and the place where it lay travel in one more header, which is taken off again. So a completed call, a dead letter
and the count of keys that are no call ids speak of the record in the calls topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from streams.calls.closed import Store
from streams.calls.partition import CallsPartition, Output, Record, Rules
from streams.codecs import CallDecoder, Headers, Source

ORIGIN: Final = "telefonie-origin"
"""The header of the internal topic; the last one of a record."""

_PARTITION_BITS: Final = 16


class Origin(Struct, array_like=True, gc=False):
    """Where a record lay in the calls topic, and its key there: the value of the header, as MessagePack."""

    partition: int
    offset: int
    key: bytes | None


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Origin).decode


class Forwarded(NamedTuple):
    """What a cut of `Repartition` writes: the records, by the topic `repartition`."""

    outputs: dict[str, list[Output]]
    rows: tuple[()] = ()
    stored: tuple[()] = ()
    header: bytes = b""


class Repartition:
    """One partition of the calls topic, every record of which is sent on. It has no state but its position.

    The key is the call id, so that Kafka's partitioner brings all events of a call together. A record without one is
    no Call, and it has no key: it will be rejected, wherever it is.
    """

    def __init__(self, decoder: CallDecoder, number: int) -> None:
        if number >> _PARTITION_BITS:
            raise ValueError(f"partition {number}: a topic with so many cannot be repartitioned")
        self._decoder, self._number = decoder, number
        self._out: list[Output] = []
        #: Of the values in it.
        self._bytes = 0

    def process(self, records: Sequence[Record], wall: int) -> int:  # noqa: ARG002 - it judges no times
        """Send records on, in order."""
        for offset, timestamp, key, value, headers in records:
            origin = (ORIGIN, _encode(Origin(self._number, offset, key)))
            self._out.append((self._key(value, headers), value, timestamp, [*headers, origin]))
            self._bytes += len(value or b"")
        return len(records)

    def _key(self, value: bytes | None, headers: Headers) -> bytes | None:
        try:
            call_id = self._decoder.call_id(value, headers)
        except Exception:  # a bug: it will be raised again where the record can be set aside
            return None
        return None if call_id is None else call_id.encode()

    @property
    def pending(self) -> int:
        """How many records the next cut writes."""
        return len(self._out)

    @property
    def pending_bytes(self) -> int:
        """About how many bytes of memory wait for the next cut."""
        return self._bytes

    def cut(self) -> Forwarded:
        """Take the records that have come since the last cut."""
        cut = Forwarded({"repartition": self._out})
        self._out, self._bytes = [], 0
        return cut

    def settle(self) -> bool:
        """Nothing ever falls due."""
        return False

    def advance(self, wall: int) -> bool:  # noqa: ARG002
        """There is no time to move."""
        return False

    def find(self, key: str) -> None:
        """Nothing is remembered."""

    def __len__(self) -> int:
        return 0

    def restore(self, rows: Iterable[Any]) -> tuple[()]:
        """Read the rows to their end: the position is found on the way, and nothing else lies there."""
        for _ in rows:
            pass
        return ()

    def ready(self, header: bytes | None) -> Iterator[None]:  # noqa: ARG002
        """Nothing is to be made ready."""
        return iter(())


class RepartitionedCalls(CallsPartition):
    """One partition of the internal topic, applied as if each record had been read where it came from.

    To the state a record's offset is a number for its origin. A record that somebody else has written into the
    internal topic is read like any other; it lies there, and its number is negative.
    """

    def __init__(self, rules: Rules, number: int, store: Store | None = None, *, topic: str) -> None:
        super().__init__(rules, number, store)
        self._internal = topic

    def process(self, records: Sequence[Record], wall: int) -> int:
        """As of `CallsPartition`, after the header has been taken off."""
        return super().process([_unwrapped(record) for record in records], wall)

    def source(self, offset: int) -> Source:
        """Where a record lay in the calls topic."""
        if offset < 0:
            return Source(self._internal, self.number, ~offset)
        return Source(self.rules.topic, offset & ((1 << _PARTITION_BITS) - 1), offset >> _PARTITION_BITS)

    def source_of(self, record: Record) -> Source:
        """Where a record of the internal topic lay in the calls topic."""
        return self.source(_unwrapped(record)[0])


def _unwrapped(record: Record) -> Record:
    offset, timestamp, _, value, headers = record
    origin = _origin(headers)
    if origin is None:
        return ~offset, *record[1:]
    return origin.offset << _PARTITION_BITS | origin.partition, timestamp, origin.key, value, headers[:-1]


def _origin(headers: Headers) -> Origin | None:
    if not headers or headers[-1][0] != ORIGIN:
        return None
    try:
        return _decode(headers[-1][1] or b"")
    except msgspec.MsgspecError:
        return None
