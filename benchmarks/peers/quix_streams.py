"""A Quix Streams application: a stateful function, its state in RocksDB with a changelog; the same rules for a call.

It has no deadlines, no KPI windows, no dead-letter headers and no metrics. It needs an interpreter of its own with
quixstreams, msgspec, jsonschema-rs and phonenumbers: quixstreams wants an older confluent-kafka than ours.

    python -m benchmarks.peers.quix_streams BROKERS GROUP CALLS_TOPIC COMPLETED_TOPIC GUARANTEE
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

from quixstreams import Application, State, message_context

from streams.calls.lifecycle import CHANGED, apply, begin
from streams.calls.revision import facts, record
from streams.calls.state import TERMINAL, decode_state, encode_state
from streams.codecs import CallDecoder, Rejected, Source, encode_completed

brokers, group, calls_topic, completed_topic, guarantee = sys.argv[1:6]
decode = CallDecoder().decode


def fold(value: bytes, _key: Any, ts: int, _headers: Any, state: State) -> list[tuple[str, bytes]]:
    """One event at a time: what is to be published, by kind."""
    try:
        call = decode(value, ())
    except Rejected:
        return [("dead", value)]
    at = message_context()
    packed = state.get_bytes("call")
    if packed is None:
        known, changed = begin(call, ts, at.offset), True
    else:
        known = decode_state(packed)
        changed = bool(apply(known, call, ts, at.offset) & CHANGED)
    if known.closed_at is None and call.status in TERMINAL:
        known.closed_at = ts
    said = []
    if known.closed_at is not None and changed:
        known.revision += 1
        done = record(call.id, known, facts(call.id, known), Source(calls_topic, at.partition, known.offset))
        said.append(("completed", encode_completed(done)))
    state.set_bytes("call", encode_state(known))
    return said


def main() -> None:
    """Until killed."""
    app = Application(
        broker_address=brokers,
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once" if guarantee == "exactly_once" else "at-least-once",
        commit_interval=0.1,
        state_dir=tempfile.mkdtemp(),
        loglevel="ERROR",
    )
    raw = {"key_deserializer": "bytes", "value_deserializer": "bytes"}
    out = {"key_serializer": "bytes", "value_serializer": "bytes"}
    events = app.dataframe(app.topic(calls_topic, **raw))
    said = events.apply(fold, stateful=True, metadata=True, expand=True)
    for kind, name in (("completed", completed_topic), ("dead", f"{completed_topic}.dead")):
        chosen = said.filter(lambda each, kind=kind: each[0] == kind)
        chosen.apply(lambda each: each[1]).to_topic(app.topic(name, **out))
    app.run()


if __name__ == "__main__":
    main()
