"""Events that go through the internal topic: the results are the same as without it."""

import json
from functools import partial
from random import Random
from typing import Any

import msgspec
import pytest
from support import model
from support.calls import generate
from test_partition import Outcome, Shelf, rules_of, run, same_as_model, stamp

from streams.calls.repartition import ORIGIN, Repartition, RepartitionedCalls, smaller_event
from streams.codecs import CallDecoder, split_headers
from streams.records import LeftOut

INTERNAL = "app-repartition"
#: The highest number must fit too.
SOURCES = (0, 1, 65_535)
CALL = {"id": "c", "status": "ringing", "direction": "inbound", "from": "+12125550123", "to": "+442079460958"}


class Scattered:
    """The records of a log, scattered over partitions of the calls topic, and as they are in the internal topic."""

    def __init__(self, random: Random, chosen: model.Settings, steps: list[model.Step]) -> None:
        decoder = CallDecoder(chosen.nulls)
        stages = {number: Repartition(decoder, number) for number in SOURCES}
        #: The offset in the log of each place in the calls topic.
        self.offsets: dict[tuple[int, int], int] = {}
        self.steps = []
        for step in steps:
            if isinstance(step, model.Record):
                number = random.choice(SOURCES)
                offset = len(self.offsets) + random.choice([0, 10**9])
                self.offsets[number, offset] = step.offset
                record = (offset, stamp(step), step.key, step.value, step.headers)
                step = self.forwarded(stages[number], step, record, chosen)
            self.steps.append(step)

    @staticmethod
    def forwarded(
        stage: Repartition, step: model.Record, record: Any, chosen: model.Settings
    ) -> model.Record:
        stage.process([record], 0)
        assert stage.pending == 1
        [(key, value, timestamp, headers)] = stage.checkpoint().outputs["repartition"]
        assert (value, timestamp, tuple(headers[:-1])) == (step.value, record[1], step.headers)
        try:
            call_id = model.decode(step, chosen.nulls)["id"]
        except model.Rejected:
            pass
        else:
            assert key == call_id.encode()
        return model.Record(step.offset, timestamp, key, value, tuple(headers), step.clock)


def with_plain_sources(outcome: Outcome, chosen: model.Settings, offsets: dict[tuple[int, int], int]) -> None:
    """Checks the places in the calls topic, and puts those in the log in their stead."""

    def plain(topic: str, partition: int, offset: int) -> int:
        assert topic == chosen.topic
        return offsets[partition, offset]

    for n, (key, value, timestamp, headers) in enumerate(outcome.completed):
        document = json.loads(value)
        offset = plain(**document["source"])
        document["source"] = {"topic": chosen.topic, "partition": chosen.partition, "offset": offset}
        outcome.completed[n] = key, json.dumps(document).encode(), timestamp, headers
    for *_, headers in outcome.dead:
        assert ORIGIN not in dict(headers)
        said = {name: (value or b"").decode() for name, value in headers}
        offset = plain(said["dead-topic"], int(said["dead-partition"]), int(said["dead-offset"]))
        headers[-3:-1] = [
            ("dead-partition", str(chosen.partition).encode()),
            ("dead-offset", str(offset).encode()),
        ]


@pytest.mark.parametrize("seed", range(60))
def test_the_model_says_the_same_of_scattered_records(seed: int) -> None:
    random = Random(seed)
    chosen, steps = generate(random, 60)
    scattered = Scattered(random, chosen, steps)
    cutting, restarting = random.choice([(0.0, 0.0), (1.0, 0.0), (0.2, 0.05), (0.5, 0.5)])

    store = random.choice([None, Shelf()])
    make = partial(RepartitionedCalls, topic=INTERNAL)
    outcome = run(chosen, scattered.steps, random, cutting, restarting, store, make)
    with_plain_sources(outcome, chosen, scattered.offsets)
    same_as_model(chosen, steps, outcome)


@pytest.mark.parametrize(
    "headers", [[], [(ORIGIN, None)], [(ORIGIN, b"\x93\x00")], [(ORIGIN, b"\x90"), ("trace", b"")]]
)
def test_a_record_that_somebody_else_wrote_into_the_internal_topic_lies_there(headers: Any) -> None:
    partition = RepartitionedCalls(rules_of(model.Settings()), 3, topic=INTERNAL)
    value = json.dumps(CALL | {"status": "busy"}).encode()
    partition.process([(0, 5, b"c", value, headers), (7, 5, b"c", b"{}", headers)], 0)
    outputs = partition.checkpoint().outputs
    [(_, completed, *_)], [(key, _, _, said)] = outputs["completed"], outputs["dead"]
    assert json.loads(completed)["source"] == {"topic": INTERNAL, "partition": 3, "offset": 0}
    assert (key, said[: len(headers)]) == (b"c", headers)
    assert dict(said)["dead-topic"] == INTERNAL.encode()
    assert dict(said)["dead-offset"] == b"7"


@pytest.mark.parametrize("timestamp", [-2, -1, 0, 1_764_000_000, 2**62])
def test_the_time_of_an_event_is_its_own_whatever_the_internal_topic_says(timestamp: int) -> None:
    """A record with an old timestamp would be deleted there before it is read, and is written with the present one."""
    stage = Repartition(CallDecoder(), 2)
    stage.process([(9, timestamp, b"k", json.dumps(CALL).encode(), ())], 0)
    [(key, value, _, headers)] = stage.checkpoint().outputs["repartition"]
    partition = RepartitionedCalls(rules_of(model.Settings()), 0, topic=INTERNAL)
    partition.process([(0, 1_764_000_000_000, key, value, headers)], 2**62)
    assert partition.ledger.stream_time == max(0, timestamp)


def test_a_header_of_that_name_that_the_producer_wrote_stays_its_own() -> None:
    stage = Repartition(CallDecoder(), 2)
    theirs = [(ORIGIN, msgspec.msgpack.encode((0, 0, None)))]
    stage.process([(9, 5, b"k", b"{", theirs)], 0)
    [(_, value, timestamp, headers)] = stage.checkpoint().outputs["repartition"]
    partition = RepartitionedCalls(rules_of(model.Settings()), 0, topic=INTERNAL)
    record = (0, timestamp, None, value, headers)
    source = partition.source_of(record)
    assert (source.topic, source.partition, source.offset) == ("telefonie.calls", 2, 9)
    partition.process([record], 0)
    [(key, _, _, said)] = partition.checkpoint().outputs["dead"]
    assert (key, said[:1]) == (b"k", theirs)
    assert [name for name, _ in said].count(ORIGIN) == 1


def test_a_fault_of_the_decoder_is_left_to_where_the_record_can_be_set_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Repartition(CallDecoder(), 0)
    monkeypatch.setattr(CallDecoder, "call_id", lambda *_: 1 / 0)
    stage.process([(0, 5, b"k", json.dumps(CALL).encode(), ())], 0)
    [(key, *_)] = stage.checkpoint().outputs["repartition"]
    assert key is None


def test_more_partitions_than_a_place_can_name_are_refused() -> None:
    with pytest.raises(ValueError, match="65536"):
        Repartition(CallDecoder(), 65_536)


def test_the_changelog_is_read_to_its_end_since_the_position_lies_in_it() -> None:
    rows = iter([(b"a", b"b"), (b"c", None)])
    assert Repartition(CallDecoder(), 0).restore(rows) == ()
    assert next(rows, None) is None


def sent_on(value: bytes | None, key: bytes | None = b"k", headers: Any = ()) -> Any:
    """A record at offset 9 of partition 2 of the calls topic as the internal topic gets it if it takes no large one."""
    stage = Repartition(CallDecoder(), 2)
    stage.process([(9, 5_000, key, value, headers)], 0)
    [output] = stage.checkpoint().outputs["repartition"]
    smaller = smaller_event(CallDecoder(), output)
    assert smaller is not None
    assert smaller_event(CallDecoder(), smaller) is None, "it has no form that is smaller still"
    return smaller


def applied(output: Any, *before: Any) -> tuple[RepartitionedCalls, Any]:
    key, value, timestamp, headers = output
    partition = RepartitionedCalls(rules_of(model.Settings()), 0, topic=INTERNAL)
    partition.process([*before, (7, timestamp, key, value, headers)], 1 << 60)
    return partition, partition.checkpoint()


@pytest.mark.parametrize("content_type", [(), (("content-type", b"application/msgpack"),)])
def test_of_a_record_that_is_too_large_what_is_carried_on_goes_on(content_type: Any) -> None:
    call = CALL | {"status": "busy", "duration": 2**64 - 1, "price": "-1", "x": "y" * 5_000_000}
    value = msgspec.msgpack.encode(call) if content_type else json.dumps(call).encode()
    output = sent_on(value, b"c", (*content_type, ("trace", b"t" * 5_000_000)))
    assert len(output[1]) + sum(len(said) for _, said in output[3]) < 500
    _, checkpoint = applied(output)
    [(key, completed, *_)] = checkpoint.outputs["completed"]
    found = json.loads(completed)
    assert (key, found["duration"], found["price"]) == (b"c", 2**64 - 1, "-1")
    assert found["source"] == {"topic": "telefonie.calls", "partition": 2, "offset": 9}
    assert checkpoint.tally.key_mismatches == 0


@pytest.mark.parametrize(
    ("value", "headers", "reason", "path"),
    [
        (b"?" * 5_000_000, (), "malformed", None),
        (json.dumps(CALL | {"status": "?" * 5_000_000}).encode(), (), "schema", "$.status"),
        (json.dumps(CALL | {"url": "urn:x:" + "y" * 5_000_000}).encode(), (), "too-large", "$.url"),
        (b"{}" + b" " * 5_000_000, (("content-type", b"text/plain"),), "unsupported-content-type", None),
    ],
)
def test_of_a_record_that_is_rejected_the_reason_goes_on(
    value: bytes, headers: Any, reason: str, path: Any
) -> None:
    output = sent_on(value, b"k" * 10_000, headers)
    assert len(output[1]) + sum(len(said) for _, said in output[3]) < 500
    _, checkpoint = applied(output)
    [(key, letter, _, said)] = checkpoint.outputs["dead"]
    own, rejection = split_headers(said) or ([], None)
    assert rejection is not None
    assert (key, letter, own) == (None, b"", [])
    assert (rejection.reason, rejection.value_bytes, rejection.timestamp) == (reason, len(value), 5_000)
    assert (rejection.topic, rejection.partition, rejection.offset) == ("telefonie.calls", 2, 9)
    if path is not None:
        assert rejection.path == path


def test_of_a_value_that_was_too_large_to_be_read_that_goes_on() -> None:
    stage = Repartition(CallDecoder(), 2)
    stage.process([(9, 5_000, b"k", LeftOut(1 << 30), [("trace", b"1")])], 0)
    [output] = stage.checkpoint().outputs["repartition"]
    _, checkpoint = applied(output)
    [(key, letter, _, said)] = checkpoint.outputs["dead"]
    _, rejection = split_headers(said) or ([], None)
    assert rejection is not None
    assert (key, letter, rejection.reason, rejection.value_bytes) == (b"k", b"", "too-large", 1 << 30)
    assert (rejection.topic, rejection.partition, rejection.offset) == ("telefonie.calls", 2, 9)


def test_what_went_on_smaller_and_is_rejected_later_leaves_its_value_where_it_lies() -> None:
    value = json.dumps(CALL | {"status": "busy", "x": "y" * 1_000_000}).encode()
    ahead = (0, 10**12, b"d", json.dumps(CALL | {"id": "d"}).encode(), [])
    _, checkpoint = applied(sent_on(value), ahead)
    [(key, letter, _, said)] = checkpoint.outputs["dead"]
    _, rejection = split_headers(said) or ([], None)
    assert rejection is not None
    assert (key, letter, rejection.reason, rejection.value_bytes) == (b"k", b"", "too-late", len(value))


def test_an_id_that_is_too_large_is_no_key() -> None:
    stage = Repartition(CallDecoder(), 0)
    stage.process([(0, 5, b"k", json.dumps(CALL | {"id": "x" * 1_000_000}).encode(), ())], 0)
    [(key, *_)] = stage.checkpoint().outputs["repartition"]
    assert key is None
