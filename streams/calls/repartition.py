"""Events keyed by call id: sent to one partition per call, and read again there (semantics, section 1).

Two processors: `Repartition` forwards every record of a partition of the calls topic to the internal topic, and
`RepartitionedCalls` applies what is there. The record is forwarded unchanged. Its place and its key, which the call id
replaces, travel in one more header, which is removed again. So completed calls, dead letters and the count of keys that
are not call ids refer to the record in the calls topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from streams.calls.partition import CallsPartition, Rules
from streams.codecs import (
    MAX_PROPERTY_BYTES,
    Call,
    CallDecoder,
    Reason,
    Rejected,
    Source,
    without_value,
)
from streams.records import Headers, LeftOut, Output, Record, Rows

ORIGIN: Final = "telefonie-origin"
"""The header that the internal topic adds; the last one of a record."""

_PARTITION_BITS: Final = 16


class Origin(Struct, array_like=True):
    """The place and the key of a record in the calls topic: the value of the header, as MessagePack."""

    partition: int
    offset: int
    key: bytes | None
    #: The size of the value if only the part that is carried on was forwarded; None: the record was forwarded
    #: unchanged.
    value_bytes: int | None = None
    #: Why the record is rejected, path included, if not even that was forwarded.
    rejected: tuple[Reason, str, str | None] | None = None
    #: The record's timestamp: in the internal topic, one with which it would not last is replaced by the wall clock.
    #: None: it is the same.
    timestamp: int | None = None


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Origin).decode


def smaller_event(decoder: CallDecoder, output: Output) -> Output | None:
    """A record for the internal topic without what is not carried on: that topic may accept less than the calls topic.

    It has the properties of a Call and no other headers or, if the record will be rejected, only the reason. Such a
    dead letter has no value; the record is where the letter says. None for a record that is small already.
    """
    key, value, timestamp, headers = output
    origin = _origin(headers)
    if origin is None or origin.value_bytes is not None:
        return None
    origin.value_bytes = value.size if isinstance(value, LeftOut) else len(value or b"")
    if origin.key is not None and len(origin.key) > MAX_PROPERTY_BYTES:
        origin.key = None  # no id of a Call is that long
    smaller = b""
    try:
        smaller = msgspec.json.encode(decoder.decode(value, headers[:-1]))
    except Rejected as rejected:
        key, origin.rejected = None, (rejected.reason, rejected.message, rejected.path)
    except Exception as error:  # a bug: it is reported where the record is set aside
        key, origin.rejected = None, ("failed", f"the processor raised {type(error).__name__}", None)
    return key, smaller, timestamp, [(ORIGIN, _encode(origin))]


class _Smaller(bytes):
    """The value of a record that was not forwarded unchanged."""

    origin: Origin


class _OriginDecoder(CallDecoder):
    """Accepts the verdict of the first stage on a record that was rejected there."""

    def __init__(self, decoder: CallDecoder) -> None:
        self._decode = decoder.decode

    def decode(self, value: bytes | None, headers: Headers) -> Call:
        """Like the decoder that it wraps."""
        if isinstance(value, _Smaller) and value.origin.rejected is not None:
            raise Rejected(*value.origin.rejected)
        return self._decode(value, headers)


class Forwarded(NamedTuple):
    """What a checkpoint of `Repartition` writes: records for the topic `repartition`."""

    outputs: dict[str, list[Output]]
    rows: tuple[()] = ()
    stored: tuple[()] = ()
    partition_state: bytes = b""


class Repartition:
    """One partition of the calls topic, every record of which is forwarded. It has no state but its position.

    The key is the call id, so that Kafka's partitioner brings all events of a call together. A record without an id is
    not a Call, and gets no key: it will be rejected in any partition.
    """

    def __init__(self, decoder: CallDecoder, number: int) -> None:
        if number >> _PARTITION_BITS:
            raise ValueError(f"partition {number}: a topic with so many cannot be repartitioned")
        self._decoder, self._number = decoder, number
        self._out: list[Output] = []
        #: Of the values in it.
        self._bytes = 0

    def process(self, records: Sequence[Record], wall: int) -> int:  # noqa: ARG002 - it judges no times
        """Forward records, in order."""
        for offset, timestamp, key, value, headers in records:
            origin = (ORIGIN, _encode(Origin(self._number, offset, key, timestamp=timestamp)))
            output: Output = (self._key(value, headers), value, timestamp, [*headers, origin])
            if isinstance(value, LeftOut):
                output = smaller_event(self._decoder, output) or output
            self._out.append(output)
            self._bytes += len(value or b"") + len(key or b"") + sum(len(text or b"") for _, text in headers)
        return len(records)

    def _key(self, value: bytes | None, headers: Headers) -> bytes | None:
        try:
            call_id = self._decoder.call_id(value, headers)
        except Exception:  # a bug: it will be raised again where the record can be set aside
            return None
        # A longer id is rejected in any partition.
        return None if call_id is None or len(call_id) > MAX_PROPERTY_BYTES else call_id.encode()

    @property
    def pending(self) -> int:
        """How many records the next checkpoint writes."""
        return len(self._out)

    @property
    def pending_bytes(self) -> int:
        """About how many bytes of memory wait for the next checkpoint."""
        return self._bytes

    def checkpoint(self) -> Forwarded:
        """Take the records that have arrived since the last checkpoint."""
        checkpoint = Forwarded({"repartition": self._out})
        self._out, self._bytes = [], 0
        return checkpoint

    def settle(self) -> bool:
        """Nothing ever falls due."""
        return False

    def advance(self, wall: int) -> bool:  # noqa: ARG002
        """There is no time to advance."""
        return False

    def find(self, key: str) -> None:
        """Nothing is remembered."""

    def __len__(self) -> int:
        return 0

    def restore(self, rows: Iterable[Any]) -> tuple[()]:
        """Read the rows to their end: the caller finds the position in them, and there is nothing else."""
        for _ in rows:
            pass
        return ()

    def ready(self, partition_state: bytes | None) -> Iterator[None]:  # noqa: ARG002
        """There is nothing to prepare."""
        return iter(())


class RepartitionedCalls(CallsPartition):
    """One partition of the internal topic, applied as if each record had been read at its origin.

    For the state, a record's offset is a number for its origin. A record that somebody else has written to the internal
    topic is read like any other; its place is there, and its number is negative.
    """

    def __init__(self, rules: Rules, number: int, store: Rows | None = None, *, topic: str) -> None:
        super().__init__(replace(rules, decoder=_OriginDecoder(rules.decoder)), number, store)
        self._internal = topic

    def process(self, records: Sequence[Record], wall: int) -> int:
        """Like `CallsPartition`, after removing the header."""
        return super().process([_unwrapped(record) for record in records], wall)

    def letter(self, rejected: Rejected, item: Record) -> Output:
        """See `CallsPartition`; the letter has no value if the value was not forwarded."""
        key, value, timestamp, headers = super().letter(rejected, item)
        if isinstance(value, _Smaller):
            return without_value(key, timestamp, headers, value.origin.value_bytes or 0)
        return key, value, timestamp, headers

    def source(self, offset: int) -> Source:
        """The place of a record in the calls topic."""
        if offset < 0:
            return Source(self._internal, self.number, ~offset)
        return Source(self.rules.topic, offset & ((1 << _PARTITION_BITS) - 1), offset >> _PARTITION_BITS)

    def source_of(self, record: Record) -> Source:
        """The place in the calls topic of a record of the internal topic."""
        return self.source(_unwrapped(record)[0])


def _unwrapped(record: Record) -> Record:
    offset, timestamp, _, value, headers = record
    origin = _origin(headers)
    if origin is None:
        return ~offset, *record[1:]
    number = origin.offset << _PARTITION_BITS | origin.partition
    if origin.timestamp is not None:
        timestamp = origin.timestamp
    if origin.value_bytes is not None:
        value = _Smaller(value or b"")
        value.origin = origin
    return number, timestamp, origin.key, value, headers[:-1]


def _origin(headers: Headers) -> Origin | None:
    if not headers or headers[-1][0] != ORIGIN:
        return None
    try:
        return _decode(headers[-1][1] or b"")
    except msgspec.MsgspecError:
        return None
