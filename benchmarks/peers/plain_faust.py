"""A Faust application as its manual would have it: an agent, a table, a topic to send to; the same rules for a call.

It has no deadlines, no KPI windows, no dead-letter headers and no metrics: less than the worker does.

    python -m benchmarks.peers.plain_faust BROKERS GROUP CALLS_TOPIC COMPLETED_TOPIC GUARANTEE
"""

from __future__ import annotations

import sys
import tempfile

import faust

from streams.calls.lifecycle import CHANGED, apply, begin
from streams.calls.revision import facts, record
from streams.calls.state import TERMINAL, decode_state, encode_state
from streams.codecs import CallDecoder, Rejected, Source, encode_completed

brokers, group, calls_topic, completed_topic, guarantee = sys.argv[1:6]
decode = CallDecoder().decode

app = faust.App(
    group,
    broker=f"kafka://{brokers}",
    store="memory://",
    processing_guarantee=guarantee,
    topic_partitions=4,
    topic_disable_leader=True,
    web_enabled=False,
    datadir=tempfile.mkdtemp(),
)
calls = app.topic(calls_topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
completed = app.topic(completed_topic, key_serializer="raw", value_serializer="raw")
dead = app.topic(f"{completed_topic}.dead", key_serializer="raw", value_serializer="raw")
table = app.Table("calls", key_type=bytes, value_type=bytes, partitions=4)


@app.agent(calls)
async def fold(stream: faust.Stream) -> None:
    """One event at a time."""
    async for event in stream.events():
        message = event.message
        try:
            call = decode(event.value, ())
        except Rejected:
            await dead.send(key=message.key, value=event.value)
            continue
        ts, call_id = int(message.timestamp * 1000), call.id.encode()
        packed = table.get(call_id)
        if packed is None:
            state, changed = begin(call, ts, message.offset), True
        else:
            state = decode_state(packed)
            changed = bool(apply(state, call, ts, message.offset) & CHANGED)
        if state.closed_at is None and call.status in TERMINAL:
            state.closed_at = ts
        if state.closed_at is not None and changed:
            state.revision += 1
            said = record(
                call.id, state, facts(call.id, state), Source(calls_topic, message.partition, state.offset)
            )
            await completed.send(key=call_id, value=encode_completed(said))
        table[call_id] = encode_state(state)


if __name__ == "__main__":
    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False, quiet=True).execute_from_commandline()
