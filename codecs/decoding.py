"""Bytes to Call: accepts exactly what the Call schema accepts (draft-07, `format` asserted).

Two tiers. The first is a typed decode at C speed, then one validator call for the strings with a grammar; it refuses
some good documents (`60.0`) but never accepts a bad one. Everything it refuses goes to the second tier, which looks at
one property after another and decides: a Call, or a `Rejected` with reason, path and message.

Where JSON leaves room, these choices hold:

- Of duplicate names the last stands, and only the last is checked.
- Numbers in properties that the schema does not know may be of any size and precision. `duration` may have
  any notation of an integer (`60`, `60.0`, `6e1`, `-0`); with a fraction or an exponent it is read as an IEEE
  754 double, as RFC 8259 expects. Past 64 bits (2^64 - 1) it is a `schema` fault: neither MessagePack nor
  most readers of JSON could carry it on. `NaN` and `Infinity` are not JSON.
- A lone surrogate (`\\ud800`), anywhere, is `malformed`: it could not be written back as UTF-8. So are a
  byte-order mark, and invalid UTF-8 anywhere, also in what is otherwise skipped.
- Arrays and objects nested more than 512 deep, the document's own object counted, are `malformed`.
- In MessagePack a whole float is an integer too, `bin` is not a string, and an entry whose name is not a
  string is an unknown property; a name that is a map, or an array with one in it, is `malformed`.

The header's name is `content-type` exactly: names of Kafka headers are case-sensitive. One that holds nothing
but parameters is blank.

A property that is carried on takes at most 8,192 bytes of UTF-8, as the text that it stands for, not as it is
escaped; a Call with a longer one is `too-large`.
"""

from functools import lru_cache
from math import inf
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from streams.codecs.call import Call
from streams.codecs.malformed import explain
from streams.codecs.messagepack import UnreadableDocumentError, is_harmless, known
from streams.codecs.nesting import MAX_DEPTH, SMALL, is_deep, on_any_stack
from streams.codecs.properties import CHECKS, REQUIRED, are_valid
from streams.codecs.rejection import Rejected
from streams.records import Headers, LeftOut

MAX_PROPERTY_BYTES: Final = 8192
"""The maximum size of a property that is carried on, in bytes of UTF-8 (semantics, section 2): it bounds the size of
every output."""

_OPENING_BRACE: Final = 0x7B
_FRAME_SIZE: Final = 5

# A few URIs occur in nearly every Call; those known to be valid are not checked again.
_URIS_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 512
_valid_uris: set[str | UnsetType] = {UNSET}

# What a decoder raises on bytes that it cannot read; only the first is an error of msgspec's.
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UnreadableDocumentError)


class _Identified(msgspec.Struct):
    """The part of a Call that says which call it is."""

    id: str


_decode_typed: Final = msgspec.json.Decoder(Call).decode
_decode_syntax: Final = msgspec.json.Decoder(Raw).decode
_decode_parts: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_untyped: Final = msgspec.json.Decoder().decode
_decode_msgpack: Final = msgspec.msgpack.Decoder().decode
_identify_json: Final = msgspec.json.Decoder(_Identified).decode
_identify_msgpack: Final = msgspec.msgpack.Decoder(_Identified).decode


class CallDecoder:
    """Decodes records of the calls topic.

    `nulls` is the setting NULLS: whether an optional property that is null is a fault (`reject`) or counts as
    absent (`absent`).
    """

    def __init__(self, nulls: Literal["reject", "absent"] = "reject") -> None:
        self._reject_nulls: Final = nulls == "reject"

    def decode(self, value: bytes | None, headers: Headers) -> Call:
        """The Call that a record holds; raises `Rejected` if it holds none (semantics, section 2)."""
        if headers or not value or value[0] != _OPENING_BRACE:
            is_msgpack, value = _is_msgpack(headers), _unframe(value)
            if is_msgpack:
                return self._decode_exactly(_read_msgpack(value))
        try:
            call = _decode_typed(value)
            value.isascii() or value.decode()  # the typed decode skips unknown properties without reading them
            if _has_valid_strings(call):
                if len(value) < SMALL:
                    return call
                if not is_deep(value):
                    return _fitting(call)
        except _UNREADABLE:
            pass  # the second tier has the better message
        return self._decode_exactly(_read_json(value))

    def call_id(self, value: bytes | None, headers: Headers) -> str | None:
        """The id of the Call that `decode` returns, in a third of the time; for what it rejects, any id or None."""
        try:
            identify = _identify_msgpack if _is_msgpack(headers) else _identify_json
            return identify(_unframe(value)).id
        except Rejected:
            return None
        except _UNREADABLE:
            pass  # like the first tier, this refuses some good documents
        try:
            return self.decode(value, headers).id
        except Rejected:
            return None

    def _decode_exactly(self, document: object) -> Call:
        """The second tier, for a document that is well formed."""
        if not isinstance(document, dict):
            raise Rejected("schema", "the document is not an object", "$")
        properties = {name: document[name] for name in CHECKS if name in document}
        nulls = [name for name, value in properties.items() if value is None and name not in REQUIRED]
        for name in nulls:
            del properties[name]
        call = _convert(properties) or _judge(properties)
        if nulls and self._reject_nulls:
            raise _rejected_nulls(nulls)
        return _fitting(call)


def _convert(properties: dict[str, Any]) -> Call | None:
    """A Call if the properties are certainly valid, without checking them one by one."""
    try:
        call = msgspec.convert(properties, Call)
    except msgspec.ValidationError:
        return None
    return call if _has_valid_strings(call) else None


def _has_valid_strings(call: Call) -> bool:
    start, end, recording = call.start_time, call.end_time, call.recording_url
    strings = [
        call.from_,
        call.to,
        None if start is UNSET else start,
        None if end is UNSET else end,
        None if recording is UNSET else recording,
    ]
    if call.url in _valid_uris and call.status_callback in _valid_uris:
        return are_valid(strings)
    uris = [uri for uri in (call.url, call.status_callback) if uri is not UNSET]
    if not are_valid(strings + uris):
        return False
    if len(_valid_uris) > _URIS_REMEMBERED:
        _valid_uris.intersection_update((UNSET,))
    _valid_uris.update(uri for uri in uris if len(uri) <= _LONGEST_REMEMBERED)
    return True


def _judge(properties: dict[str, Any]) -> Call:
    """A Call from the properties, each of which is checked; raises `Rejected` for the first one at fault."""
    for name in REQUIRED:
        if name not in properties:
            raise Rejected("schema", f"the property {name} is missing", "$")
    for name, value in properties.items():
        if fault := CHECKS[name](value):
            raise Rejected("schema", f"{name} {fault}", f"$.{name}")
    duration = properties.pop("duration", UNSET)
    call = msgspec.convert(properties, Call)
    call.duration = duration if duration is UNSET else int(duration)
    return call


def _fitting(call: Call) -> Call:
    """The call; raises `Rejected` if one of its properties is too large to be carried on."""
    for name, field in _TEXTS.items():
        text = getattr(call, field)
        # The first comparison decides nearly always: a code point takes at most four bytes.
        if text is UNSET or len(text) * 4 <= MAX_PROPERTY_BYTES:
            continue
        if (size := len(text.encode())) > MAX_PROPERTY_BYTES:
            raise Rejected(
                "too-large",
                f"{name} takes {size} bytes of UTF-8, at most {MAX_PROPERTY_BYTES} are carried on",
                f"$.{name}",
            )
    return call


#: The properties that may have any length, and their names in a `Call`.
_TEXTS: Final = {
    each.encode_name: each.name for each in msgspec.structs.fields(Call) if each.name != "duration"
}


def _is_msgpack(headers: Headers) -> bool:
    """Whether the record announces MessagePack rather than JSON; raises `Rejected` on anything else."""
    for name, value in reversed(headers):
        if name == "content-type":
            value = value or b""
            return (_remembered if len(value) <= _LONGEST_REMEMBERED else _names_msgpack)(value)
    return False


def _names_msgpack(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type in (b"", b"application/json"):
        return False
    if media_type == b"application/msgpack":
        return True
    raise Rejected(
        "unsupported-content-type",
        "the content-type header names neither application/json nor application/msgpack",
    )


_remembered: Final = lru_cache(maxsize=64)(_names_msgpack)


def _unframe(value: bytes | None) -> bytes:
    """The document in a value: what follows a Confluent frame (byte 0, 4-byte schema id), or all of it.

    No document that could be a Call begins with byte 0, neither in JSON nor in MessagePack (an integer 0).
    """
    if isinstance(value, LeftOut):
        raise Rejected(
            "too-large", f"the value takes {value.size} bytes, and no record of more than 16 MiB is read"
        )
    if not value:
        raise Rejected("empty", "the record has no value")
    if value[0]:
        return value
    if len(value) < _FRAME_SIZE:
        raise Rejected("malformed", "the value ends within a Confluent frame (byte 0 and a 4-byte schema id)")
    if len(value) == _FRAME_SIZE:
        raise Rejected("empty", "the record's Confluent frame holds nothing")
    return value[_FRAME_SIZE:]


def _read_json(document: bytes) -> object:
    """The document, before any rule of the schema is applied."""
    try:
        found = on_any_stack(_read_whole_or_parts, document)
        if len(document) >= SMALL and is_deep(document):
            raise RecursionError
        return found
    except _UNREADABLE as error:
        raise Rejected("malformed", f"the value is not JSON in UTF-8: {explain(error, document)}") from None


def _read_whole_or_parts(document: bytes) -> object:
    try:
        return cast(object, _decode_untyped(document))
    except msgspec.ValidationError:  # it contains a number that no Python type holds
        return _read_parts(document)


def _read_parts(document: bytes) -> object:
    """Like `_read_json`, but only an object's known properties; a number beyond all bounds becomes infinity."""
    document.decode()
    if not bytes(_decode_syntax(document)).startswith(b"{"):
        return None
    parts = _decode_parts(document)
    return {name: _read_part(parts[name]) for name in CHECKS if name in parts}


def _read_part(part: Raw) -> object:
    try:
        return cast(object, _decode_untyped(part))
    except msgspec.ValidationError:
        return inf


def _read_msgpack(document: bytes) -> object:
    try:
        if is_harmless(document):
            return on_any_stack(_decode_msgpack, document)
        return known(document, CHECKS, MAX_DEPTH)
    except _UNREADABLE as error:
        raise Rejected("malformed", f"the value is not MessagePack: {explain(error, b'')}") from None


def _rejected_nulls(names: list[str]) -> Rejected:
    be = "is" if len(names) == 1 else "are"
    return Rejected(
        "schema",
        f"{', '.join(names)} {be} null, which the schema forbids; the record has no other fault, and the "
        "setting NULLS=absent (TELEFONIE_NULLS) would accept it",
        f"$.{names[0]}",
    )
