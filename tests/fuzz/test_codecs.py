"""Any bytes: a Call, or a rejection in one line, in time and memory that grow only with the size.

`make fuzz` runs the same for longer: FUZZ_EXAMPLES is how many each test tries.
"""

from __future__ import annotations

import os
import struct
import time
import tracemalloc
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.calls.partition import CallsPartition, Rules
from streams.codecs import REASONS, Call, CallDecoder, Rejected
from streams.codecs.messagepack import UnreadableDocumentError, known
from streams.codecs.nesting import MAX_DEPTH
from streams.codecs.properties import CHECKS

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
MSGPACK = [("content-type", b"application/msgpack")]
CALL = {"id": "x", "status": "queued", "direction": "inbound", "from": "+12125550123", "to": "+12125550123"}
JSON = msgspec.json.encode(CALL)
PACKED = msgspec.msgpack.encode(CALL)
#: Bytes that begin something, of both encodings.
PIECES = [
    *(
        b"%c" % byte
        for byte in (0x80, 0x81, 0x82, 0x8F, 0x90, 0x91, 0x9F, 0xC0, 0xC1, 0xC3, 0xFF, 0x7F, 0xA0)
    ),
    *(b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01", b"\xde\x00\x01", b"\xdf\x00\x00\x00\x01"),
    *(b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"),
    *(b"\xa2id", b"\xd9\x02id", b"\xc4\x01x", b"\xa1\xff", b"\xa2to", b"\xa8duration"),
    *(b"\xca\x7f\x80\x00\x00", b"\xcb" + b"\x40" * 8, b"\xcf" + b"\xff" * 8, b"\xd3\x80" + b"\x00" * 7),
    *(b"\xd6\xff\x00\x00\x00\x00", b"\xc7\x01\x05x", b"\xd4\x05x", b"\xc7\x0c\xff" + b"\xff" * 12),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b'"id"',
        b'"duration":',
        b"1e999",
        b"-0",
        b"9" * 400,
        b"null",
    ),
    *(b"\\ud800", b"\\u0000", b"\xef\xbb\xbf", b"\x00\x00\x00\x00\x01", b" ", b"\n", JSON, JSON[:-1], PACKED),
]
values = st.none() | st.binary(max_size=80) | st.lists(st.sampled_from(PIECES), max_size=16).map(b"".join)
headers = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "Content-Type", "dead-reason", ""]),
        st.none()
        | st.binary(max_size=12)
        | st.sampled_from([b"application/msgpack", b" Application/JSON ;x", b";"]),
    ),
    max_size=3,
)
decoders = [CallDecoder("reject"), CallDecoder("absent")]


def decoded(decoder: CallDecoder, value: bytes | None, said: Any) -> Call | Rejected:
    try:
        return decoder.decode(value, said)
    except Rejected as rejected:
        return rejected


@settings(max_examples=EXAMPLES * 5)
@given(st.sampled_from(decoders), values, headers)
def test_a_record_is_a_call_or_rejected_in_one_line(
    decoder: CallDecoder, value: bytes | None, said: Any
) -> None:
    found = decoded(decoder, value, said)
    if isinstance(found, Rejected):
        assert found.reason in REASONS
        assert found.message.isprintable()
        assert len(found.message) < 300
    else:
        assert decoder.decode(msgspec.json.encode(found), ()) == found


def quick(document: bytes) -> object:
    """What `known` must find, by the decoder that hashes names."""
    found = msgspec.msgpack.decode(document)
    return (
        {name: value for name, value in found.items() if name in CHECKS} if isinstance(found, dict) else None
    )


def outcome(read: Any, document: bytes) -> str:
    try:
        found = read(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UnreadableDocumentError):
        return "unreadable"
    if not isinstance(found, dict):
        return repr(found)
    shown = dict.fromkeys(("list", "tuple"), "[]") | {"dict": "{}"}
    shown |= {"Ext": "an extension"} | dict.fromkeys(("datetime", "Timestamp"), "a time")
    return str({name: shown.get(type(value).__name__, repr(value)) for name, value in found.items()})


@settings(max_examples=EXAMPLES * 5)
@given(st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(PIECES), max_size=16).map(b"".join)))
@example(b"\x81\xc7\x00\x00\x00")
@example(b"\xd4\x80\x00")
@example(b"\x81\x91\xd4\x05x\x00")
def test_both_ways_to_read_message_pack_agree(document: bytes) -> None:
    assert outcome(lambda text: known(text, CHECKS, MAX_DEPTH), document) == outcome(quick, document)


@settings(max_examples=EXAMPLES)
@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), values, values, headers), max_size=8))
@example([(0, None, b"|", []), (0, None, JSON, [])])
def test_no_record_is_lost_or_raises(records: list[tuple[int, Any, Any, Any]]) -> None:
    """Each is applied or rejected, and what is rejected is there byte for byte."""
    rules = Rules("calls", 6 * 3_600_000, 24 * 3_600_000, 300_000, 60_000, decoders[0])
    partition = CallsPartition(rules, 0)
    partition.process(
        [(n, at, key, value, said) for n, (at, key, value, said) in enumerate(records)], 1 << 60
    )
    ledger = partition.ledger
    checkpoint = partition.checkpoint()
    dead = checkpoint.outputs["dead"]
    assert not checkpoint.failures
    assert ledger.read == len(records) == ledger.applied + len(dead)
    assert Counter((key, value) for key, value, *_ in dead) <= Counter(
        (key, value) for _, key, value, _ in records
    )


def colliding(count: int) -> bytes:
    """Names that are arrays of -1 and -2, which Python hashes alike."""
    names = (bytes(0xFF if n >> bit & 1 else 0xFE for bit in range(16)) for n in range(count))
    return b"\xdf" + struct.pack(">I", count) + b"".join(b"\xdc\x00\x10" + name + b"\xc0" for name in names)


def within_map(count: int, size: int) -> bytes:
    """A few arrays as names, and many small numbers."""
    names = b"".join(b"\x91" + struct.pack(">BH", 0xCD, n) + b"\xc0" for n in range(count))
    return (
        b"\xdf"
        + struct.pack(">I", count + 1)
        + names
        + b"\xa1x\xdd"
        + struct.pack(">I", size)
        + b"\x01" * size
    )


def within(document: bytes) -> bytes:
    return JSON[:-1] + b',"x":' + document + b"}"


def hostile(size: int) -> dict[str, tuple[bytes, Any]]:
    """Records of about this many bytes."""
    return {
        "a number of many digits": (within(b"9" * size), ()),
        "a duration of many digits": (JSON[:-1] + b',"duration":' + b"9" * size + b"}", ()),
        "a fraction of many digits": (JSON[:-1] + b',"duration":1.' + b"0" * size + b"}", ()),
        "many arrays": (JSON[:-1] + b',"duration":null,"x":[' + b"[]," * (size // 3) + b"[]]}", ()),
        "many names": (
            JSON[:-1] + b',"duration":null' + b"".join(b',"%x":0' % n for n in range(size // 10)) + b"}",
            (),
        ),
        "the same name again and again": (JSON[:-1] + b',"url":"urn:x:y"' * (size // 16) + b"}", ()),
        "many arrays around something": (
            JSON[:-1] + b',"duration":null,"x":[' + b"[[0]]," * (size // 6) + b"0]}",
            (),
        ),
        "many texts": (
            JSON[:-1] + b',"duration":null,"x":[' + b'"",' * (size // 3) + b"[" * 600 + b"]" * 600 + b"]}",
            (),
        ),
        "deep arrays": (within(b"[" * size + b"]" * size), ()),
        "deep objects": (within(b'{"a":' * (size // 5)), ()),
        "a long id": (msgspec.json.encode(CALL | {"id": "x" * size}), ()),
        "a long number": (msgspec.json.encode(CALL | {"from": "+1" + "1" * size}), ()),
        "a long time": (
            msgspec.json.encode(CALL | {"start_time": "2026-01-01T00:00:00." + "1" * size + "Z"}),
            (),
        ),
        "a long URI": (
            msgspec.json.encode(CALL | {"url": "https://example.com/" + "%41" * (size // 3) + " "}),
            (),
        ),
        "many content types": (JSON, [("content-type", b"x" * 1000)] * 250),
        "packed: many arrays": (b"\xdd" + struct.pack(">I", size) + b"\x90" * size, MSGPACK),
        "packed: many maps": (
            b"\xdd" + struct.pack(">I", size // 3) + b"\x81\x01\x02" * (size // 3),
            MSGPACK,
        ),
        "packed: arrays as names": (within_map(257, size), MSGPACK),
        "packed: deep arrays": (b"\x91" * size, MSGPACK),
        "packed: deep maps": (b"\x81\xa1a" * (size // 3), MSGPACK),
        "packed: names that collide": (colliding(size // 20), MSGPACK),
        "packed: an array said to be long": (b"\xdd\xff\xff\xff\xff", MSGPACK),
        "packed: arrays said to be long": (b"\xdd\x0f\xff\xff\xff" * 500, MSGPACK),
        "packed: a map said to be long": (b"\xdf\xff\xff\xff\xff", MSGPACK),
        "packed: a text said to be long": (b"\x81\xa2id\xdb\xff\xff\xff\xff", MSGPACK),
    }


@pytest.mark.parametrize("name", hostile(10))
def test_time_grows_with_the_size_alone(name: str) -> None:
    """A dict of the colliding names would take half a minute."""
    value, said = hostile(1 << 19)[name]
    begun = time.process_time()
    decoded(decoders[0], value, said)
    assert time.process_time() - begun < 5, "seconds of the processor's time"


@pytest.mark.parametrize("name", hostile(10))
def test_memory_grows_with_the_size_alone(name: str) -> None:
    value, said = hostile(1 << 16)[name]
    tracemalloc.start()
    try:
        decoded(decoders[0], value, said)
        assert tracemalloc.get_traced_memory()[1] < 120 * max(len(value), 10_000)
    finally:
        tracemalloc.stop()
