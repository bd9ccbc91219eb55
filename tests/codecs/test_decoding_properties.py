"""The decoder against a validator that shares nothing with it, on generated documents."""

import json
from contextlib import suppress
from typing import Any

import msgspec
from call_documents import mangled_texts, near_calls, texts
from call_oracle import NULLABLE, judge, judge_document, parse
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streams.codecs import Call, CallDecoder, Rejected
from streams.codecs.decoding import _judge, _read_json

MSGPACK = [("content-type", b"application/msgpack")]

decoder = CallDecoder("reject")
lenient = CallDecoder("absent")


def outcome(decoder: CallDecoder, value: bytes, headers: Any = ()) -> Call | Rejected:
    try:
        return decoder.decode(value, headers)
    except Rejected as rejected:
        return rejected


def verdict(outcome: Call | Rejected) -> str:
    return "accepted" if isinstance(outcome, Call) else outcome.reason


def expected(document: Any) -> dict[str, Any]:
    """What must be carried of a good document."""
    known = {field.encode_name for field in msgspec.structs.fields(Call)}
    return {name: value for name, value in document.items() if name in known}


@settings(max_examples=700, deadline=None)
@given(texts())
def test_near_calls_get_the_verdict_of_the_schema(text: bytes) -> None:
    found = outcome(decoder, text)
    assert verdict(found) == judge(text)
    if isinstance(found, Call):
        assert json.loads(msgspec.json.encode(found)) == expected(json.loads(text))


@settings(max_examples=500, deadline=None)
@given(mangled_texts())
def test_mangled_texts_get_the_verdict_of_a_json_parser_and_the_schema(text: bytes) -> None:
    assume(not text.startswith(b"\x00"))  # that would be a Confluent frame
    assert verdict(outcome(decoder, text)) == judge(text)


@settings(max_examples=300, deadline=None)
@given(st.one_of(texts(), mangled_texts()))
def test_the_second_tier_alone_says_the_same(text: bytes) -> None:
    assume(not text.startswith(b"\x00"))
    found = outcome(decoder, text)
    if isinstance(found, Call):
        assert decoder._decode_exactly(_read_json(text)) == found
        assert _judge(expected(parse(text))) == found


@settings(max_examples=500, deadline=None)
@given(st.one_of(texts(), mangled_texts()), st.sampled_from([(), MSGPACK]), st.booleans())
def test_the_call_id_alone_is_that_of_the_call(text: bytes, headers: Any, framed: bool) -> None:
    value = b"\0\0\0\0\7" + text if framed else text
    if headers:
        with suppress(ValueError, RecursionError):
            value = msgspec.msgpack.encode(json.loads(text))
    found = outcome(decoder, value, headers)
    call_id = decoder.call_id(value, headers)
    assert isinstance(found, Rejected) or call_id == found.id


@settings(max_examples=300, deadline=None)
@given(near_calls())
def test_message_pack_gets_the_verdict_of_the_same_json(document: dict[str, Any]) -> None:
    as_json = outcome(decoder, json.dumps(document).encode())
    packed = outcome(decoder, msgspec.msgpack.encode(document), MSGPACK)
    if isinstance(as_json, Call):
        assert packed == as_json
    else:
        assert isinstance(packed, Rejected)
        assert packed.args == as_json.args


@settings(max_examples=300, deadline=None)
@given(near_calls(), st.sets(st.sampled_from(NULLABLE), max_size=3))
def test_null_counts_as_absent_where_the_setting_says_so(document: dict[str, Any], nulls: set[str]) -> None:
    document |= dict.fromkeys(nulls)
    without = {n: v for n, v in document.items() if v is not None or n not in NULLABLE}
    text = json.dumps(document).encode()
    strict, forgiving = outcome(decoder, text), outcome(lenient, text)
    assert verdict(forgiving) == judge_document(without)
    assert verdict(strict) == judge_document(document)
    only_nulls = isinstance(strict, Rejected) and isinstance(forgiving, Call)
    assert only_nulls == (isinstance(strict, Rejected) and "TELEFONIE_NULLS" in strict.message)
    if only_nulls:
        assert strict.path in {
            f"$.{name}" for name in NULLABLE if name in document and document[name] is None
        }


@settings(max_examples=300, deadline=None)
@given(near_calls())
def test_a_rejection_is_one_line_that_quotes_no_value(document: dict[str, Any]) -> None:
    # Every text is made recognisable, which also makes most of them wrong.
    marked = {n: f"§{v}§" if isinstance(v, str) else v for n, v in document.items()}
    found = outcome(decoder, json.dumps(marked).encode())
    assert isinstance(found, Rejected)
    assert found.message
    assert found.message.isprintable()
    assert "§" not in f"{found} {found.path}"


def test_the_oracle_parses_as_json_says() -> None:
    assert parse(b'{"a": [1.5, "\\u00e9", null]}') == {"a": [1.5, "é", None]}
