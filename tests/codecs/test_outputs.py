"""What is written: completed calls, KPI windows, dead letter headers, and the schemas that describe them."""

import json
from typing import Any

import jsonschema
import msgspec
import pytest
from call_documents import FULL, GOOD_NUMBERS, GOOD_TIMES, GOOD_URIS, REQUIRED
from call_oracle import judge
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codecs import (
    ANOMALIES,
    REASONS,
    STATUSES,
    CallDecoder,
    CompletedCall,
    KpiWindow,
    Rejected,
    Source,
    Timeline,
    call_schema,
    completed_call_schema,
    dead_headers,
    decode_completed,
    decode_kpi,
    encode_completed,
    encode_kpi,
    exact_seconds,
    kpi_window_schema,
)

INSTANT = "2025-07-01T00:00:00.000Z"
SOURCE = Source("telefonie.calls", 0, 0)

completed_schema = jsonschema.Draft202012Validator(json.loads(completed_call_schema()))
kpi_schema = jsonschema.Draft202012Validator(json.loads(kpi_window_schema()))


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


instants = st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z")
numbers, times, uris = map(st.sampled_from, (GOOD_NUMBERS, GOOD_TIMES, GOOD_URIS))
seconds = st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
sizes = st.integers(0, 2**63 - 1)

completed_calls = st.builds(
    CompletedCall,
    id=words,
    status=st.sampled_from(STATUSES),
    direction=st.sampled_from(["inbound", "outbound"]),
    from_=numbers,
    to=numbers,
    revision=st.integers(1, 9),
    closed_by=st.sampled_from(["status", "timeout"]),
    closed_at=instants,
    timeline=st.builds(Timeline, **{name.replace("-", "_"): maybe(instants) for name in STATUSES}),
    answered=st.booleans(),
    events=st.integers(1, 99),
    source=st.builds(Source, words, st.integers(0, 99), sizes),
    duration=maybe(st.integers(0, 2**64 - 1)),
    start_time=maybe(times),
    end_time=maybe(times),
    price=maybe(words),
    price_unit=maybe(st.sampled_from(["USD", "日本円"])),
    recording_url=maybe(uris),
    url=maybe(uris),
    status_callback=maybe(uris),
    answered_by=maybe(st.sampled_from(["human", "machine", "unknown"])),
    from_country=maybe(st.just("US")),
    to_country=maybe(st.just("GB")),
    ring_seconds=maybe(seconds),
    talk_seconds=maybe(seconds),
    anomalies=maybe(st.lists(st.sampled_from(ANOMALIES), min_size=1, unique=True).map(sorted)),
)
kpi_windows = st.builds(
    KpiWindow,
    window_start=instants,
    window_end=instants,
    direction=st.sampled_from(["inbound", "outbound"]),
    country=st.sampled_from(["US", "ZZ"]),
    partition=st.integers(0, 99),
    **{
        name: st.integers(0, 99)
        for name in (
            [
                "attempts",
                "completed",
                "busy",
                "no_answer",
                "failed",
                "canceled",
                "timed_out",
                "answered",
                "human",
                "machine",
            ]
        )
    },
    talk_seconds=seconds,
    ring_seconds=seconds,
    charges=st.dictionaries(st.sampled_from(["USD", "EUR"]), st.just("0.013")),
)


@settings(max_examples=150, deadline=None)
@given(completed_calls)
def test_a_completed_call_comes_back_and_is_valid_as_itself_and_as_a_call(call: CompletedCall) -> None:
    value = encode_completed(call)
    assert decode_completed(value) == call
    assert encode_completed(decode_completed(value)) == value
    assert judge(value) == "accepted"
    assert CallDecoder().decode(value, ()).id == call.id
    completed_schema.validate(json.loads(value))


@settings(max_examples=100, deadline=None)
@given(kpi_windows)
def test_a_kpi_window_comes_back_and_is_valid(window: KpiWindow) -> None:
    value = encode_kpi(window)
    assert decode_kpi(value) == window
    assert len(json.loads(value)) == len(msgspec.structs.fields(KpiWindow))
    kpi_schema.validate(json.loads(value))


def test_what_is_absent_is_not_written_and_nothing_else_is_left_out() -> None:
    call = CompletedCall(
        *REQUIRED.values(), 1, "status", INSTANT, Timeline(), False, 1, SOURCE, duration=0, talk_seconds=0.0
    )
    assert json.loads(encode_completed(call)) == REQUIRED | {
        "revision": 1,
        "closed_by": "status",
        "closed_at": INSTANT,
        "timeline": {},
        "answered": False,
        "events": 1,
        "source": {"topic": "telefonie.calls", "partition": 0, "offset": 0},
        "duration": 0,
        "talk_seconds": 0.0,
    }


def test_the_timeline_has_the_names_of_the_statuses() -> None:
    assert [field.encode_name for field in msgspec.structs.fields(Timeline)] == list(STATUSES)


def test_charges_are_written_in_one_order() -> None:
    window = KpiWindow(INSTANT, INSTANT, "inbound", "ZZ", 0, *[0] * 10, 0.0, 0.0, {"USD": "1", "EUR": "2"})
    assert encode_kpi(window).endswith(b'"charges":{"EUR":"2","USD":"1"},"uncharged":0}')


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0.0"), (1, "0.001"), (1_200, "1.2"), (60_000, "60.0"), (2**80 + 7, "1208925819614629174706.183")],
)
def test_seconds_of_a_window_have_every_digit(ms: int, text: str) -> None:
    window = KpiWindow(INSTANT, INSTANT, "inbound", "ZZ", 0, *[0] * 10, exact_seconds(ms), 0.0, {})
    assert f'"talk_seconds":{text},'.encode() in encode_kpi(window)


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b'{"id": 1}'])
def test_what_is_no_output_record_is_refused(value: bytes) -> None:
    for decode in (decode_completed, decode_kpi):
        with pytest.raises(msgspec.MsgspecError):
            decode(value)


# Schemas


def test_the_schemas_are_schemas_and_describe_every_property() -> None:
    jsonschema.Draft7Validator.check_schema(json.loads(call_schema()))
    for schema in (completed_schema.schema, kpi_schema.schema):
        jsonschema.Draft202012Validator.check_schema(schema)
        assert "null" not in json.dumps(schema)
    assert completed_schema.schema["properties"].keys() >= FULL.keys()
    assert all("description" in rule for rule in completed_schema.schema["properties"].values())


def test_the_schema_of_a_completed_call_is_closed() -> None:
    call = CompletedCall(*REQUIRED.values(), 1, "status", INSTANT, Timeline(), False, 1, SOURCE)
    document = json.loads(encode_completed(call))
    for wrong in (
        {"other": 1},
        {"revision": 0},
        {"timeline": {"held": INSTANT}},
        {"anomalies": ["odd"]},
        {"ring_seconds": None},
        {"from": "12"},
    ):
        assert not completed_schema.is_valid(document | wrong)
    for name in document:
        assert not completed_schema.is_valid({n: v for n, v in document.items() if n != name})


# Dead letters


def test_a_dead_letter_keeps_its_headers_and_says_why_and_where() -> None:
    own = [("trace", b"\xff"), ("dead-reason", b"earlier"), ("content-type", None)]
    rejected = Rejected("schema", "from is null, not a string", "$.from")
    headers = dead_headers(own, rejected, "calls-é", 3, 12, 1_700_000_000_000)
    assert headers == [
        *own,
        ("dead-reason", b"schema"),
        ("dead-message", b"from is null, not a string"),
        ("dead-path", b"$.from"),
        ("dead-topic", "calls-é".encode()),
        ("dead-partition", b"3"),
        ("dead-offset", b"12"),
        ("dead-timestamp", b"1700000000000"),
    ]


def test_a_dead_letter_without_a_path_has_no_header_for_it() -> None:
    headers = dead_headers([], Rejected("empty", "the record has no value"), "calls", 0, 0, -1)
    assert headers[-1] == ("dead-timestamp", b"-1")
    assert [name for name, _ in headers] == [
        "dead-reason",
        "dead-message",
        "dead-topic",
        "dead-partition",
        "dead-offset",
        "dead-timestamp",
    ]


def test_the_reasons_are_a_closed_set_in_the_order_of_judgement() -> None:
    assert REASONS == (
        "too-early",
        "unsupported-content-type",
        "empty",
        "malformed",
        "schema",
        "too-large",
        "too-late",
        "failed",
    )
