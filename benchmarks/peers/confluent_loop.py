"""A hand-written loop on librdkafka: the same decoding and rules for a call, a commit each 100 ms.

It has no deadlines, no KPI windows, no dead-letter headers and no metrics, never reads its changelog back, and knows
of no rebalance: a floor, not a product.

    python -m benchmarks.peers.confluent_loop BROKERS GROUP CALLS_TOPIC COMPLETED_TOPIC GUARANTEE
"""

from __future__ import annotations

import sys
import time

from confluent_kafka import Consumer, Producer

from streams.calls.lifecycle import CHANGED, apply, begin
from streams.calls.revision import facts, record
from streams.calls.state import TERMINAL, CallState, encode_state
from streams.codecs import CallDecoder, Rejected, Source, encode_completed

brokers, group, calls_topic, completed_topic, guarantee = sys.argv[1:6]
exactly_once = guarantee == "exactly_once"


def main() -> None:
    """Until killed."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 5,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "linger.ms": 20,
            "queue.buffering.max.messages": 1_000_000,
            "enable.idempotence": True,
            **({"transactional.id": group} if exactly_once else {}),
        }
    )
    consumer.subscribe([calls_topic])
    if exactly_once:
        producer.init_transactions(30)
        producer.begin_transaction()
    decode = CallDecoder().decode
    states: dict[bytes, CallState] = {}
    dirty: dict[bytes, CallState] = {}
    committed = time.monotonic()
    while True:
        for message in consumer.consume(1000, 0.1):
            key, value = message.key(), message.value()
            try:
                call = decode(value, ())
            except Rejected:
                producer.produce(f"{completed_topic}.dead", value, key)
                continue
            ts, call_id = message.timestamp()[1], call.id.encode()
            state = states.get(call_id)
            if state is None:
                state = states[call_id] = begin(call, ts, message.offset())
                changed = True
            else:
                changed = bool(apply(state, call, ts, message.offset()) & CHANGED)
            if state.closed_at is None and call.status in TERMINAL:
                state.closed_at = ts
            if state.closed_at is not None and changed:
                state.revision += 1
                said = record(
                    call.id,
                    state,
                    facts(call.id, state),
                    Source(calls_topic, message.partition(), state.offset),
                )
                producer.produce(completed_topic, encode_completed(said), call_id)
            dirty[call_id] = state
        if time.monotonic() - committed >= 0.1:
            for call_id, state in dirty.items():
                producer.produce(f"{completed_topic}.changelog", encode_state(state), call_id)
            dirty.clear()
            positions = [place for place in consumer.position(consumer.assignment()) if place.offset >= 0]
            if exactly_once:
                producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), 30)
                producer.commit_transaction(30)
                producer.begin_transaction()
            elif positions:
                producer.flush(30)
                consumer.commit(offsets=positions, asynchronous=False)
            committed = time.monotonic()


if __name__ == "__main__":
    main()
