"""Calls in bulk."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from random import Random

from support.kafka import Record, produce

from streams.operations.simulation import STANDARD_MIX, Mix, events


def simulated(calls: int, seed: int, mix: Mix = STANDARD_MIX) -> list[Record]:
    """Simulated calls, all of the past few minutes."""
    start = int(time.time() * 1000) - 600_000
    return [Record(value, key, at) for at, key, value in events(seed, calls, calls / 120, start, mix)]


def produce_calls(brokers: str, topic: str, calls: int, seed: int, mix: Mix = STANDARD_MIX) -> int:
    """Simulated calls, as fast as they go; returns how many records."""
    records = simulated(calls, seed, mix)
    produce(brokers, topic, records)
    return len(records)


def scattered(records: Iterable[Record], seed: int) -> list[Record]:
    """The same under random keys, and some without one: the events of a call may be in any partition."""
    chance = Random(seed)
    return [replace(each, key=chance.choice([chance.randbytes(2), None])) for each in records]


@contextmanager
def producing(
    brokers: str, topic: str, calls: int, seed: int, seconds: float, *, scatter: bool = False
) -> Iterator[Future[int]]:
    """Simulated calls over this many seconds, in the background; the future is the number of records, once all are
    sent."""
    records = simulated(calls, seed)
    records = scattered(records, seed) if scatter else records
    chunks = [records[i : i + 1000] for i in range(0, len(records), 1000)]

    def send() -> int:
        for chunk in chunks:
            produce(brokers, topic, chunk, patience=60)
            time.sleep(seconds / len(chunks))
        return len(records)

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(send)
