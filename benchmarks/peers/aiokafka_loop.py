"""A hand-written loop on aiokafka, as its manual would have it: getmany, send, a commit each 100 ms.

The same decoding and rules for a call; what it leaves out is what `confluent_loop` leaves out.

    python -m benchmarks.peers.aiokafka_loop BROKERS GROUP CALLS_TOPIC COMPLETED_TOPIC GUARANTEE
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from streams.calls.lifecycle import CHANGED, apply, begin
from streams.calls.revision import facts, record
from streams.calls.state import TERMINAL, CallState, encode_state
from streams.codecs import CallDecoder, Rejected, Source, encode_completed

brokers, group, calls_topic, completed_topic, guarantee = sys.argv[1:6]
exactly_once = guarantee == "exactly_once"


async def main() -> None:
    """Until killed."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    consumer = AIOKafkaConsumer(
        calls_topic,
        bootstrap_servers=brokers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers,
        transactional_id=group if exactly_once else None,
        enable_idempotence=True,
        linger_ms=20,
        max_batch_size=128 * 1024,
        retry_backoff_ms=20,
    )
    await producer.start()
    await consumer.start()
    decode = CallDecoder().decode
    states: dict[bytes, CallState] = {}
    dirty: dict[bytes, CallState] = {}
    committed = time.monotonic()
    if exactly_once:
        await producer.begin_transaction()
    while True:
        for messages in (await consumer.getmany(timeout_ms=100, max_records=2000)).values():
            for message in messages:
                try:
                    call = decode(message.value, ())
                except Rejected:
                    await producer.send(f"{completed_topic}.dead", message.value, message.key)
                    continue
                ts, call_id = message.timestamp, call.id.encode()
                state = states.get(call_id)
                if state is None:
                    state = states[call_id] = begin(call, ts, message.offset)
                    changed = True
                else:
                    changed = bool(apply(state, call, ts, message.offset) & CHANGED)
                if state.closed_at is None and call.status in TERMINAL:
                    state.closed_at = ts
                if state.closed_at is not None and changed:
                    state.revision += 1
                    said = record(
                        call.id,
                        state,
                        facts(call.id, state),
                        Source(calls_topic, message.partition, state.offset),
                    )
                    await producer.send(completed_topic, encode_completed(said), call_id)
                dirty[call_id] = state
        if time.monotonic() - committed >= 0.1:
            for call_id, state in dirty.items():
                await producer.send(f"{completed_topic}.changelog", encode_state(state), call_id)
            dirty.clear()
            offsets = {tp: await consumer.position(tp) for tp in consumer.assignment()}
            if exactly_once:
                await producer.send_offsets_to_transaction(offsets, group)
                await producer.commit_transaction()
                await producer.begin_transaction()
            else:
                await producer.flush()
                await consumer.commit(offsets)
            committed = time.monotonic()


if __name__ == "__main__":
    asyncio.run(main())
