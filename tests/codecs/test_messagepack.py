"""MessagePack read without hashing names, format by format, compared with the decoder that hashes them."""

import struct
import time

import msgpack
import msgspec
import pytest

from streams.codecs import messagepack
from streams.codecs.messagepack import UnreadableDocumentError, is_harmless
from streams.codecs.nesting import MAX_DEPTH

NAMES = dict.fromkeys(("url", "price"))
#: The formats of the specification, each with more in it than a length misread by one would leave.
FORMATS = {
    "positive fixint": b"\x07",
    "negative fixint": b"\xe1",
    "nil": b"\xc0",
    "false": b"\xc2",
    "true": b"\xc3",
    "float 32": b"\xca" + struct.pack(">f", 1.5),
    "float 64": b"\xcb" + struct.pack(">d", 1.1),
    "uint 8": b"\xcc\xc0",
    "uint 16": b"\xcd" + struct.pack(">H", 0xC0C1),
    "uint 32": b"\xce" + struct.pack(">I", 0xC0C1C2C3),
    "uint 64": b"\xcf" + struct.pack(">Q", 0xC0C1C2C3C4C5C6C7),
    "int 8": b"\xd0" + struct.pack(">b", -100),
    "int 16": b"\xd1" + struct.pack(">h", -30_000),
    "int 32": b"\xd2" + struct.pack(">i", -(2**30)),
    "int 64": b"\xd3" + struct.pack(">q", -(2**62)),
    "fixstr": b"\xa3abc",
    "empty fixstr": b"\xa0",
    "str 8": b"\xd9\x03abc",
    "str 16": b"\xda\x01\x00" + b"a" * 256,
    "str 32": b"\xdb\x00\x01\x00\x00" + b"a" * 65_536,
    "bin 8": b"\xc4\x03abc",
    "bin 16": b"\xc5\x01\x00" + b"a" * 256,
    "bin 32": b"\xc6\x00\x01\x00\x00" + b"a" * 65_536,
    "fixext 1": b"\xd4\x05a",
    "fixext 1 of a type that is reserved": b"\xd4\x80a",
    "fixext 2": b"\xd5\x05ab",
    "fixext 4": b"\xd6\x05abcd",
    "fixext 8": b"\xd7\x05" + b"a" * 8,
    "fixext 16": b"\xd8\x05" + b"a" * 16,
    "timestamp 32": b"\xd6\xff\x60\x00\x00\x00",
    "ext 8": b"\xc7\x03\x05abc",
    "ext 16": b"\xc8\x01\x00\x05" + b"a" * 256,
    "ext 32": b"\xc9\x00\x01\x00\x00\x05" + b"a" * 65_536,
    "fixarray": b"\x92\xc0\x91\x07",
    "array 16": b"\xdc\x00\x02\xc0\x07",
    "array 32": b"\xdd\x00\x00\x00\x02\xc0\x07",
    "fixmap": b"\x82\xa1a\xc0\xa1b\x81\xa1c\x07",
    "map 16": b"\xde\x00\x02\xa1a\xc0\xa1b\x07",
    "map 32": b"\xdf\x00\x00\x00\x02\xa1a\xc0\xa1b\x07",
}


def known(document: bytes, names: dict[str, None]) -> dict[object, object] | None:
    return messagepack.known(document, names, MAX_DEPTH)


def plain(value: object) -> object:
    """As `quick` has it: timestamps are of each decoder's own type."""
    return value.to_datetime() if isinstance(value, msgpack.Timestamp) else value


def quick(document: bytes) -> object:
    """As `known` has it: only these names, arrays and maps empty."""
    found = msgspec.msgpack.decode(document)
    if not isinstance(found, dict):
        return None
    shown = {name: found[name] for name in NAMES if name in found}
    return {name: type(value)() if isinstance(value, list | dict) else value for name, value in shown.items()}


def text(value: str) -> bytes:
    return msgspec.msgpack.encode(value)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_and_skipped_as_long_as_it_is(name: str) -> None:
    value = FORMATS[name]
    document = b"\x83" + text("url") + value + text("x") + value + text("price") + text("after")
    found = known(document, NAMES)
    assert found is not None
    assert {name: plain(each) for name, each in found.items()} == quick(document)
    assert known(value, NAMES) == quick(value)
    for cut in {1, 2, len(value), len(document) - len(value), len(document) - 1}:
        with pytest.raises(UnreadableDocumentError):
            known(document[:cut], NAMES)
    with pytest.raises(UnreadableDocumentError, match="trailing"):
        known(document + b"\xc0", NAMES)


def test_what_lies_deeper_is_not_the_calls() -> None:
    document = msgspec.msgpack.encode({"price": "1", "x": {"price": "2", "y": [{"url": "3"}]}})
    assert known(document, NAMES) == {"price": "1"}


def test_of_a_name_that_comes_twice_the_last_stands() -> None:
    assert known(b"\x82" + text("price") + text("1") + text("price") + text("2"), NAMES) == {"price": "2"}


@pytest.mark.parametrize("name", [b"\x80", b"\x81\xa1a\xc0", b"\xd4\x05a", b"\x91\x80", b"\x91\xd4\x05a"])
def test_a_map_or_an_extension_in_a_name_is_malformed(name: bytes) -> None:
    with pytest.raises(UnreadableDocumentError, match="a map or an extension is a name"):
        known(b"\x81" + name + b"\xc0", NAMES)


@pytest.mark.parametrize(
    "name", [b"\x07", b"\xc0", b"\xc4\x05price", b"\x91\xa5price", b"\xcb" + b"\x00" * 8]
)
def test_other_names_than_strings_are_unknown_ones(name: bytes) -> None:
    assert known(b"\x82" + text("price") + text("1") + name + text("2"), NAMES) == {"price": "1"}


@pytest.mark.parametrize("document", [b"\xc1", b"\x81" + text("price") + b"\xc1"])
def test_a_byte_without_a_meaning_is_malformed(document: bytes) -> None:
    with pytest.raises(UnreadableDocumentError, match="a byte without a meaning"):
        known(document, NAMES)


@pytest.mark.parametrize(("opening", "item"), [(b"\x91", b""), (b"\x81\xa1a", b""), (b"\x81", b"\xc0")])
def test_nesting_has_an_end(opening: bytes, item: bytes) -> None:
    """Of arrays, of maps as values, and of arrays as names."""
    inner = b"\x91" if item else opening
    known((opening + inner * (MAX_DEPTH - 1) + b"\xc0" + item), NAMES)
    for depth in (MAX_DEPTH, 2 * MAX_DEPTH, 100_000):
        with pytest.raises(UnreadableDocumentError, match="nested too deeply"):
            known(opening + inner * depth + b"\xc0" + item, NAMES)


def test_a_document_is_harmless_only_with_few_containers() -> None:
    assert is_harmless(b"\x91" * 256)
    for container in (b"\x90", b"\x80", b"\x9f", b"\x8f", b"\xdc", b"\xdd", b"\xde", b"\xdf"):
        assert not is_harmless(container * 257)


def test_the_time_grows_with_the_size_alone() -> None:
    """Names that Python hashes alike; far from what a slow machine takes, and far below what hashing takes."""
    names = [b"\x92" + bytes([a]) + struct.pack(">Bi", 0xD2, n) for a in (0xFF, 0xFE) for n in range(75_000)]
    document = b"\xdf" + struct.pack(">I", len(names)) + b"".join(name + b"\xc0" for name in names)
    assert len(document) > 1_000_000
    start = time.perf_counter()
    assert known(document, NAMES) == {}
    assert time.perf_counter() - start < 5
