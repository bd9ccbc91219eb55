"""Events keyed by call id on their way to one partition a call, and read again there (semantics, section 1).

Two processors: `Repartition` sends every record of a partition of the calls topic on into the internal topic, and
`RepartitionedCalls` applies what lies there. The record goes on as it came; its key, which the call id takes the place
of, and the place where it lay travel in one more header, which is taken off again. So a completed call, a dead letter
and the count of keys that are no call ids speak of the record in the calls topic.
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
"""The header of the internal topic; the last one of a record."""

_PARTITION_BITS: Final = 16


class Origin(Struct, array_like=True):
    """Where a record lay in the calls topic, and its key there: the value of the header, as MessagePack."""

    partition: int
    offset: int
    key: bytes | None
    #: The size of the value, where only what is carried on of it went on; None: the record went on as it came.
    value_bytes: int | None = None
    #: Why the record is rejected, path included, where not even that went on.
    rejected: tuple[Reason, str, str | None] | None = None
    #: The record's: in the internal topic one that would not last there is the wall clock's. None: it is the same.
    timestamp: int | None = None


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Origin).decode


def smaller_event(decoder: CallDecoder, output: Output) -> Output | None:
    """A record for the internal topic without what is not carried on: that topic may take less than the calls topic.

    It has the properties of a Call and no other headers, or, of a record that will be rejected, the reason alone. Such
    a dead letter has no value; the record lies where the letter says. None for a record that is small already.
    """
    key, value, timestamp, headers = output
    origin = _origin(headers)
    if origin is None or origin.value_bytes is not None:
        return None
    origin.value_bytes = value.size if isinstance(value, LeftOut) else len(value or b"")
    if origin.key is not None and len(origin.key) > MAX_PROPERTY_BYTES:
        origin.key = None  # no id of a Call is as long
    smaller = b""
    try:
        smaller = msgspec.json.encode(decoder.decode(value, headers[:-1]))
    except Rejected as rejected:
        key, origin.rejected = None, (rejected.reason, rejected.message, rejected.path)
    except Exception as error:  # a bug: it is said where the record is set aside
        key, origin.rejected = None, ("failed", f"the processor raised {type(error).__name__}", None)
    return key, smaller, timestamp, [(ORIGIN, _encode(origin))]


class _Smaller(bytes):
    """The value of a record that did not go on as it came."""

    origin: Origin


class _OriginDecoder(CallDecoder):
    """Takes the word of the first stage for a record that was rejected there."""

    def __init__(self, decoder: CallDecoder) -> None:
        self._decode = decoder.decode

    def decode(self, value: bytes | None, headers: Headers) -> Call:
        """As of the decoder that it has."""
        if isinstance(value, _Smaller) and value.origin.rejected is not None:
            raise Rejected(*value.origin.rejected)
        return self._decode(value, headers)


class Forwarded(NamedTuple):
    """What a checkpoint of `Repartition` writes: the records, by the topic `repartition`."""

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
        # A longer id is rejected wherever it is.
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
        """Take the records that have come since the last checkpoint."""
        checkpoint = Forwarded({"repartition": self._out})
        self._out, self._bytes = [], 0
        return checkpoint

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

    def __init__(self, rules: Rules, number: int, store: Rows | None = None, *, topic: str) -> None:
        super().__init__(replace(rules, decoder=_OriginDecoder(rules.decoder)), number, store)
        self._internal = topic

    def process(self, records: Sequence[Record], wall: int) -> int:
        """As of `CallsPartition`, after the header has been taken off."""
        return super().process([_unwrapped(record) for record in records], wall)

    def letter(self, rejected: Rejected, item: Record) -> Output:
        """See `CallsPartition`; one whose value did not go on has none."""
        key, value, timestamp, headers = super().letter(rejected, item)
        if isinstance(value, _Smaller):
            return without_value(key, timestamp, headers, value.origin.value_bytes or 0)
        return key, value, timestamp, headers

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
