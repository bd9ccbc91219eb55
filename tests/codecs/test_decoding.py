"""The decoder case by case: what the contract states, and the choices where it is silent."""

import json
from typing import Any

import msgspec
import pytest
from call_documents import (
    BAD_NUMBERS,
    BAD_TIMES,
    BAD_URIS,
    FULL,
    GOOD_NUMBERS,
    GOOD_TIMES,
    GOOD_URIS,
    REQUIRED,
)
from call_oracle import judge, judge_document

from streams.codecs import STATUSES, Call, CallDecoder, Rejected
from streams.codecs.decoding import _remembered, _valid_uris
from streams.engine.records import MAX_RECORD_BYTES
from streams.records import LeftOut

JSON = ("content-type", b"application/json")
MSGPACK = ("content-type", b"application/msgpack")
FRAME = b"\x00\x00\x00\x01\x02"

decode = CallDecoder().decode


def text(**properties: Any) -> bytes:
    """The least Call, with these properties added or replaced."""
    return json.dumps({**REQUIRED, **{n.rstrip("_"): v for n, v in properties.items()}}).encode()


def raw(name: str, value: bytes) -> bytes:
    """The least Call with one more property, whose value is written exactly so."""
    return text()[:-1] + b', "' + name.encode() + b'": ' + value + b"}"


def rejection(value: bytes | None, *headers: tuple[str, bytes | None], nulls: Any = "reject") -> Rejected:
    with pytest.raises(Rejected) as caught:
        CallDecoder(nulls).decode(value, headers)
    return caught.value


def test_every_property_is_carried_under_its_own_name() -> None:
    call = decode(json.dumps(FULL).encode(), ())
    assert json.loads(msgspec.json.encode(call)) == FULL
    assert (call.from_, call.duration, call.end_time) == ("+14155550100", 61, FULL["end_time"])


def test_absent_properties_are_unset_and_unknown_ones_are_not_carried() -> None:
    call = decode(raw("x", b'{"deep": [1, {"er": null}]}'), ())
    assert call == decode(text(), ())
    assert call.duration is msgspec.UNSET
    assert json.loads(msgspec.json.encode(call)) == REQUIRED


@pytest.mark.parametrize("status", STATUSES)
def test_every_status(status: str) -> None:
    assert decode(text(status=status), ()).status == status


# Properties


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("from", GOOD_NUMBERS, BAD_NUMBERS),
        ("to", GOOD_NUMBERS, BAD_NUMBERS),
        ("start_time", GOOD_TIMES, BAD_TIMES),
        ("end_time", GOOD_TIMES, BAD_TIMES),
        ("recording_url", GOOD_URIS, BAD_URIS),
        ("url", GOOD_URIS, BAD_URIS),
        ("status_callback", GOOD_URIS, BAD_URIS),
        ("price_unit", ["USD", "xxx", "日本円", "😀😀😀", "\n\n\n"], ["", "US", "USDT", "e\u0301ur", "日本"]),
        ("answered_by", ["human", "machine", "unknown"], ["", "Human", "human ", "robot"]),
        ("status", ["queued", "no-answer"], ["", "Queued", "in_progress", "no-answer\n"]),
        ("direction", ["inbound", "outbound"], ["", "outbound-api", "INBOUND"]),
        ("id", ["", "x", "\x00", "😀"], []),
        ("price", ["", "free", "-0.01", "1e9"], []),
    ],
)
def test_texts(name: str, good: list[str], bad: list[str]) -> None:
    for value in good:
        assert judge_document(REQUIRED | {name: value}) == "accepted", value
        assert decode(text(**{name: value}), ())
        assert decode(text(**{name: value, "duration": 60.0}), ()), "the second tier says the same"
    for value in bad:
        assert judge_document(REQUIRED | {name: value}) == "schema", value
        rejected = rejection(text(**{name: value}))
        assert (rejected.reason, rejected.path) == ("schema", f"$.{name}"), value


@pytest.mark.parametrize("name", sorted(FULL))
@pytest.mark.parametrize("value", [None, True, 1, 1.5, [], {}, ["+12"]])
def test_a_value_of_another_type_is_a_fault_of_the_schema(name: str, value: Any) -> None:
    if name == "duration" and value == 1 and value is not True:
        return
    rejected = rejection(text(**{name: value}))
    assert (rejected.reason, rejected.path) == ("schema", f"$.{name}")
    assert name in rejected.message


@pytest.mark.parametrize(
    ("token", "duration"),
    [
        (b"0", 0),
        (b"-0", 0),
        (b"-0.0", 0),
        (b"0e0", 0),
        (b"1.0", 1),
        (b"6e1", 60),
        (b"6E+1", 60),
        (b"600e-1", 60),
        (b"60.000", 60),
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", 2**63),
        (b"18446744073709551615", 2**64 - 1),
        (b"9.223372036854775808e18", 2**63),
        (b"1e-400", 0),  # not distinguishable from 0 in a double
        (b"0e99999", 0),
        (b"1" + b"0" * 400 + b"e-400", 1),
        (b"9007199254740993.0", 2**53),  # the nearest double
    ],
)
def test_an_integer_may_be_written_in_any_way(token: bytes, duration: int) -> None:
    found = decode(raw("duration", token), ()).duration
    assert (found, type(found)) == (duration, int)
    assert judge(raw("duration", token)) == "accepted"


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        (b"0.5", "not an integer"),
        (b"60.1", "not an integer"),
        (b"1e-1", "not an integer"),
        (b"-1", "negative"),
        (b"-1.0", "negative"),
        (b"-2e308", "64 bits"),
        (b"18446744073709551616", "64 bits"),
        (b"18446744073709551616.0", "64 bits"),
        (b"1e300", "64 bits"),
        (b"1e400", "64 bits"),
        (b"9" * 400, "64 bits"),
        (b"9" * 5000, "64 bits"),
        (b'"60"', "not an integer"),
        (b"false", "not an integer"),
    ],
)
def test_other_durations_are_faults_of_the_schema(token: bytes, fault: str) -> None:
    rejected = rejection(raw("duration", token))
    assert (rejected.reason, rejected.path) == ("schema", "$.duration")
    assert fault in rejected.message


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_property_is_named_at_its_object(name: str) -> None:
    document = {n: v for n, v in REQUIRED.items() if n != name}
    rejected = rejection(json.dumps(document).encode())
    assert (rejected.reason, rejected.path) == ("schema", "$")
    assert rejected.message == f"the property {name} is missing"


@pytest.mark.parametrize(
    "document", [b"[]", b'"+12"', b"1", b"1e400", b"null", b"true", b" [1e400] ", b"[[]]"]
)
def test_a_document_that_is_no_object(document: bytes) -> None:
    assert rejection(document).args == ("schema", "the document is not an object", "$")


# Null


def test_null_is_not_absence_by_default_and_the_message_names_the_setting() -> None:
    rejected = rejection(text(start_time=None, duration=None))
    assert (rejected.reason, rejected.path) == ("schema", "$.duration")
    assert "duration, start_time are null" in rejected.message
    assert "NULLS=absent (TELEFONIE_NULLS)" in rejected.message


def test_null_beside_another_fault_does_not_promise_what_the_setting_cannot_do() -> None:
    rejected = rejection(text(start_time=None, end_time="yesterday"))
    assert (rejected.path, "NULLS" in rejected.message) == ("$.end_time", False)


def test_null_counts_as_absent_if_the_setting_says_so() -> None:
    nulls = dict.fromkeys(sorted(FULL.keys() - REQUIRED))
    assert CallDecoder("absent").decode(text(**nulls), ()) == decode(text(), ())
    assert rejection(text(start_time=None, url="x"), nulls="absent").path == "$.url"


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("nulls", ["reject", "absent"])
def test_a_required_property_may_never_be_null(name: str, nulls: str) -> None:
    rejected = rejection(text(**{name: None}, url=None), nulls=nulls)
    assert (rejected.reason, rejected.path) == ("schema", f"$.{name}")
    assert "NULLS" not in rejected.message


def test_null_in_an_unknown_property_is_nothing() -> None:
    assert decode(raw("x", b"null"), ()) == decode(text(), ())


# JSON: in the manner of the published test suites, y accepted, n not, i where the standard leaves it open


@pytest.mark.parametrize(
    "value",
    [
        b"1e400",
        b"-1E+999",
        b"1" * 5000,
        b"0.1e-9999",
        b'"\\ud83d\\ude00"',
        b'"\\u0000\\u001f\\/\\b\\f\\n\\r\\t\\\\\\""',
        b'"\x7f"',
        '"\u2028\ufeff\U0010ffff\ufffe"'.encode(),
        b"[]",
        b"[[[[{}]]]]",
        b"[" * 100 + b"]" * 100,
        b'{"": 0, "": 0}',
        b" \t\r\n0 \t\r\n",
    ],
)
def test_an_unknown_property_may_hold_any_json(value: bytes) -> None:
    assert decode(raw("x", value), ()) == decode(text(), ())
    assert decode(raw("x", value)[:-1] + b', "duration": 6e1}', ()).duration == 60


@pytest.mark.parametrize(
    "value",
    [
        b"", b"01", b"-01", b"-", b"+1", b".5", b"1.", b"1.e1", b"1e", b"1e+", b"0x1", b"1_0", b"1 2",
        b"NaN", b"Infinity", b"-Infinity", b"nan", b"nul", b"None", b"TRUE", b"undefined", b"[1,]",
        b"[,1]", b"[1 2]", b"[1", b"]", b'{"a":1,}', b'{"a"}', b'{"a":}', b"{1:2}", b"{a:1}", b"{'a':1}",
        b'{"a":1 "b":2}', b"{", b"'a'", b'"a', b'"\\x41"', b'"\\u12"', b'"\\u12g4"', b'"\\', b'"\x00"',
        b'"\x1f"', b'"\n"', b'"\t"', b"\x0b1", b"\x0c1", b"\xc2\xa01", b"1 // x", b"/* */ 1", b"# x",
        b'"\\ud800"', b'"\\udc00"', b'"\\udc00\\ud800"', b'"\\ud800\\u0041"', b'"\\uD800x"',
        b'{"\\ud800": 1}', b'"\xff"', b'"\x80"', b'"\xc3"', b'"\xc0\xaf"', b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"', b'{"\xff": 1}', b"\xff", b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000, b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_not_json_in_utf8_is_malformed_wherever_it_stands(value: bytes) -> None:
    for name in ("x", "url", "duration"):
        past_all_bounds = raw("y", b"1e400")[:-1] + b', "' + name.encode() + b'": ' + value + b"}"
        for document in (raw(name, value), past_all_bounds, b"[1," + value + b"]"):
            rejected = rejection(document)
            assert (rejected.reason, rejected.path) == ("malformed", None)
            assert rejected.message.isprintable()


@pytest.mark.parametrize(
    "document",
    [
        b" ",
        b"\n",
        text()[:-1],
        text() + b"}",
        text() + b",",
        text() + text(),
        text() + b"\x00",
        text() + b"\xff",
        text() + b"\x0c",
        b"\xef\xbb\xbf" + text(),
        b"\xef\xbb\xbf",
        text().decode().encode("utf-16"),
        text().decode().encode("utf-16-le"),
        text().decode().encode("utf-32-be"),
        text().replace(b'"', b"'"),
        b"id,status\n",
        b"<call/>",
    ],
)
def test_what_is_not_one_json_text_in_utf8_is_malformed(document: bytes) -> None:
    assert rejection(document).reason == "malformed"


def test_malformed_comes_before_a_fault_of_the_schema() -> None:
    assert rejection(raw("duration", b'"x"')[:-1]).reason == "malformed"
    assert rejection(b'{"from": 1, "x": \xff}').reason == "malformed"
    assert rejection(b"[1, 2").reason == "malformed"


def test_white_space_around_the_document_and_escapes_in_names_are_json() -> None:
    spaced = b" \t\r\n" + text().replace(b'"from"', b'"\\u0066rom"') + b"\n"
    assert decode(spaced, ()) == decode(text(), ())


def test_of_duplicate_names_the_last_stands_and_only_it_is_checked() -> None:
    assert decode(raw("to", b'"+99"'), ()).to == "+99"
    assert decode(raw("to", b"1")[:-1] + b', "to": "+99"}', ()).to == "+99"
    assert decode(raw("\\u0074o", b'"+99"'), ()).to == "+99"
    assert rejection(raw("to", b'"99"')).path == "$.to"
    assert rejection(raw("url", b'"a:"')[:-1] + b', "url": null}').path == "$.url"


# Content types


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("trace", b"\xff"), ("content-type-x", b"text/plain")],
        [JSON],
        [("content-type", None)],
        [("content-type", b"")],
        [("content-type", b" \t ")],
        [("content-type", b"; charset=utf-8")],
        [("content-type", b"Application/JSON ; charset=latin-1")],
        [("content-type", b"\tapplication/json\r\n")],
        [("content-type", b"application/json;\xff")],
        [("content-type", b"text/plain"), JSON, ("other", b"text/plain")],
        [MSGPACK, ("content-type", b"")],
        [("Content-Type", b"text/plain")],
    ],
)
def test_headers_that_mean_json(headers: list[tuple[str, bytes | None]]) -> None:
    assert decode(text(), headers) == decode(text(), ())


@pytest.mark.parametrize(
    "value", [b"application/msgpack", b" APPLICATION/MsgPack;v=1", b"application/msgpack; x=application/json"]
)
def test_headers_that_mean_message_pack(value: bytes) -> None:
    assert decode(msgspec.msgpack.encode(FULL), [JSON, ("content-type", value)]) == decode(
        json.dumps(FULL).encode(), ()
    )


@pytest.mark.parametrize(
    "value",
    [
        b"text/plain",
        b"application/jsonl",
        b"application/x-msgpack",
        b"application",
        b"application /json",
        b"json",
        b"\xff",
        b"application/json\xc2\xa0",
        b"application/json, application/json",
        "application/msgpac\u212a".encode(),
    ],
)
def test_other_content_types_are_unsupported_whatever_the_value(value: bytes) -> None:
    for record in (text(), b"", None, b"\xff"):
        rejected = rejection(record, JSON, ("content-type", value))
        assert (rejected.reason, rejected.path) == ("unsupported-content-type", None)


# Frames and emptiness


def test_a_confluent_frame_is_skipped() -> None:
    assert decode(FRAME + text(), ()) == decode(text(), ())
    assert decode(FRAME + text(), [JSON]) == decode(text(), ())
    assert decode(FRAME + msgspec.msgpack.encode(REQUIRED), [MSGPACK]) == decode(text(), ())


def test_only_one_frame_is_skipped() -> None:
    assert rejection(FRAME + FRAME + text()).reason == "malformed"


@pytest.mark.parametrize("headers", [[], [JSON], [MSGPACK]])
@pytest.mark.parametrize("value", [None, b"", FRAME])
def test_a_record_without_a_document_is_empty(value: bytes | None, headers: list[Any]) -> None:
    rejected = rejection(value, *headers)
    assert (rejected.reason, rejected.path) == ("empty", None)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_value_that_ends_within_a_frame_is_malformed(length: int) -> None:
    assert rejection(FRAME[:length]).reason == "malformed"


# MessagePack


def packed(**properties: Any) -> bytes:
    return msgspec.msgpack.encode({**REQUIRED, **properties})


@pytest.mark.parametrize("value", [60, 60.0])
def test_a_whole_number_of_message_pack_is_an_integer(value: float) -> None:
    assert decode(packed(duration=value), [MSGPACK]).duration == 60


@pytest.mark.parametrize(
    ("properties", "path"),
    [
        ({"id": b"x"}, "$.id"),
        ({"id": msgspec.msgpack.Ext(5, b"x")}, "$.id"),
        ({"start_time": msgspec.msgpack.Ext(-1, b"\0\0\0\0")}, "$.start_time"),
        ({"duration": float("nan")}, "$.duration"),
        ({"duration": float("inf")}, "$.duration"),
        ({"duration": 1e300}, "$.duration"),
        ({"duration": True}, "$.duration"),
        ({"url": None}, "$.url"),
        ({"from": "+12\n"}, "$.from"),
    ],
)
def test_faults_of_the_schema_in_message_pack(properties: dict[str, Any], path: str) -> None:
    rejected = rejection(packed(**properties), MSGPACK)
    assert (rejected.reason, rejected.path) == ("schema", path)


@pytest.mark.parametrize(
    "document",
    [
        packed()[:-1],
        packed() + b"\xc0",
        b"\xc1",
        packed(x="ab").replace(b"\xa2ab", b"\xa2a\xff"),
        packed().replace(b"\xa2id", b"\xa2\xff\xff"),
        b"\x91" * 5000 + b"\xc0",
        b"\x81\x80\xc0",
    ],
)
def test_what_is_not_message_pack_is_malformed(document: bytes) -> None:
    rejected = rejection(document, MSGPACK)
    assert (rejected.reason, rejected.path) == ("malformed", None)
    assert rejected.message.isprintable()


def test_unknown_entries_of_message_pack_may_be_anything() -> None:
    odd = {**REQUIRED, 1: b"\xff", None: msgspec.msgpack.Ext(5, b"x"), "x": [1e300, {2: 3}]}
    assert decode(msgspec.msgpack.encode(odd), [MSGPACK]) == decode(text(), ())


def test_json_announced_as_message_pack_and_the_reverse_are_malformed_or_no_call() -> None:
    assert rejection(text(), MSGPACK).reason == "malformed"
    assert rejection(packed(), JSON).reason == "malformed"


# Memory


def test_of_the_uris_that_were_found_valid_only_some_are_remembered() -> None:
    for number in range(2_000):
        assert decode(text(url=f"https://hostile.example/{number}"), ())
    long = "https://hostile.example/" + "x" * 1_000
    assert decode(text(url=long), ())
    assert len(_valid_uris) <= 1_100
    assert long not in _valid_uris


# Messages


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b'{"x": 1 2}', "the value is not JSON in UTF-8: expected ',' or '}' (byte 8)"),
        (b'{"x": "\\ud800"}', "the value is not JSON in UTF-8: it ends too early or has a lone surrogate"),
        (b'{"x": "\xff"}', "the value is not JSON in UTF-8: it has invalid UTF-8"),
        (b"[" * 5_000, "the value is not JSON in UTF-8: it is nested too deeply"),
    ],
)
def test_a_malformed_value_is_told_why(document: bytes, message: str) -> None:
    assert rejection(document).message == message


def test_messages_never_quote_the_value() -> None:
    for name in FULL:
        for value in ("+4915112345678", ["+4915112345678"], {"+4915112345678": 1}, 4915112345678.5):
            if name in ("id", "price", "from", "to") and isinstance(value, str):
                continue
            assert "4915112345678" not in str(rejection(text(**{name: value})))


def test_a_rejection_reads_as_one_line() -> None:
    rejected = rejection(text(**{"from": "12"}))
    assert str(rejected).startswith("schema: from is not a phone number in E.164 form")
    assert str(rejected).endswith("(at $.from)")
    assert str(Rejected("empty", "the record has no value")) == "empty: the record has no value"


@pytest.mark.parametrize("encode", [json.dumps, msgspec.msgpack.encode])
def test_the_depth_of_the_stack_decides_nothing(encode: Any) -> None:
    value: object = 0
    for _ in range(250):
        value = [value]
    document = encode(FULL | {"x": value})
    headers = [("content-type", b"application/msgpack")] if isinstance(document, bytes) else []
    raw_document = document if isinstance(document, bytes) else document.encode()

    def dive(depth: int) -> Call:
        return dive(depth - 1) if depth else decode(raw_document, headers)

    assert dive(850).id == FULL["id"]


# Sizes


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_has_one_limit_on_every_interpreter(opening: str) -> None:
    closing = "]" if opening == "[" else "}"

    def nested(depth: int) -> bytes:  # the Call's own object counted
        brackets = '"[[{\\"[["' + "," if opening == "[" else ""
        inner = opening * (depth - 1) + brackets + "0" + closing * (depth - 1)
        return raw("x", inner.encode())

    assert decode(nested(512), ())
    for depth in (513, 600, 2_000):
        assert rejection(nested(depth)).reason == "malformed"
        assert "nested too deeply" in rejection(nested(depth)).message
    assert decode(raw("x", b'"' + b"[" * 5_000 + b'"'), ()), "in a text they are no nesting"
    assert decode(raw("x", b"[" + b"[[]]," * 2_000 + b"0]"), ()), "nor side by side"


def test_packed_nesting_has_the_same_limit() -> None:
    headers = [("content-type", b"application/msgpack")]

    def nested(depth: int) -> bytes:
        packed = msgspec.msgpack.encode(FULL | {"x": 0})
        return packed[:-1] + b"\x91" * (depth - 1) + b"\0"

    assert decode(nested(512), headers)
    for depth in (513, 2_000):
        assert rejection(nested(depth), *headers).message.endswith("it is nested too deeply")


@pytest.mark.parametrize(
    "name", ["id", "price", "recording_url", "url", "status_callback", "start_time", "end_time"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_carried_on_is_bounded(name: str, packed: bool) -> None:
    def document(size: int) -> tuple[bytes, Any]:
        filled = {"start_time": "2026-01-01T00:00:00.{}Z", "end_time": "2026-01-01T00:00:00.{}Z"}.get(
            name, "urn:x:{}"
        )
        value = filled.format("1" * (size - len(filled) + 2))
        call = FULL | {name: value}
        if packed:
            return msgspec.msgpack.encode(call), [MSGPACK]
        return json.dumps(call).encode(), ()

    assert decode(*document(8_192))
    value, headers = document(8_193)
    rejected = rejection(value, *headers)
    assert (rejected.reason, rejected.path) == ("too-large", f"$.{name}")
    assert "8193 bytes" in rejected.message


def test_the_size_is_that_of_the_text_not_of_its_escapes() -> None:
    escaped = "".join(f"\\u{ord(char):04x}" for char in "\u20ac" * 2_730)
    assert len(escaped) > 8_192
    assert decode(raw("price", f'"{escaped}"'.encode()), ()).price == "\u20ac" * 2_730
    assert rejection(raw("price", f'"{escaped}\\u20ac"'.encode())).reason == "too-large"
    assert rejection(text(price="\u20ac" * 2_731)).reason == "too-large"


def test_what_is_not_carried_on_may_be_of_any_size() -> None:
    assert decode(text(x="y" * 5_000_000), ())
    assert decode(
        msgspec.msgpack.encode(FULL | {"x": "\u00e9" * 100_000}), [("content-type", b"application/msgpack")]
    )


def test_the_first_fault_that_holds_is_given() -> None:
    assert rejection(text(price="1" * 9_000, duration=-1)).reason == "schema"
    assert rejection(text(price="1" * 9_000, duration=None)).reason == "schema"
    assert CallDecoder("absent").decode(text(price="1" * 8_000, duration=None), ())


@pytest.mark.parametrize(
    ("value", "explanation"),
    [
        (b"\xef\xbb\xbf{}", "byte-order mark"),
        (b"\xff\xfe{\0}\0", "UTF-16"),
        (b"\0\0\0\0\0\0\0\0\7{}", "8-byte schema id"),
        (b"\3\0" + b"u" * 16 + b"{}", "AWS Glue"),
        (b"\3\5" + b"u" * 16 + b"{}", "AWS Glue"),
    ],
)
def test_what_others_put_before_a_document_is_named(value: bytes, explanation: str) -> None:
    rejected = rejection(value)
    assert rejected.reason == "malformed"
    assert explanation in rejected.message


def test_long_content_types_are_not_remembered() -> None:
    for number in range(100):
        assert decode(text(), [("content-type", b"application/json;" + b"%d" % number + b"x" * 100_000)])
    assert _remembered.cache_info().currsize <= 64
    long = b"application/json;" + b"x" * 1_000
    before = _remembered.cache_info()
    decode(text(), [("content-type", long)])
    assert _remembered.cache_info() == before


@pytest.mark.parametrize("headers", [(), (("content-type", b"application/msgpack"),)])
def test_a_value_that_was_too_large_to_be_read_is_not_empty(headers: Any) -> None:
    with pytest.raises(Rejected) as caught:
        CallDecoder().decode(LeftOut(1 << 30), headers)
    assert (caught.value.reason, caught.value.path) == ("too-large", None)
    assert "1073741824 bytes" in caught.value.message
    assert f"more than {MAX_RECORD_BYTES >> 20} MiB" in caught.value.message
    assert CallDecoder().call_id(LeftOut(1 << 30), headers) is None
