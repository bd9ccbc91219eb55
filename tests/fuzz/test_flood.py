"""A flood of calls that never end: what each of them costs, and that the timeout frees all of it."""

from __future__ import annotations

import gc
import json
import tracemalloc
from uuid import UUID

from streams.calls.partition import CallsPartition, Rules
from streams.codecs import CallDecoder

HOUR = 3_600_000
CALLS = 10_000
WALL = 1 << 60


def opened(number: int, begun: int) -> tuple[int, int, bytes, bytes, list[tuple[str, bytes]]]:
    call_id = str(UUID(int=number << 64))
    document = {
        "id": call_id, "status": "queued", "direction": "inbound",
        "from": f"+1212555{number:07d}", "to": f"+442079{number % 100:07d}",
    }  # fmt: skip
    return number, begun + number, call_id.encode(), json.dumps(document).encode(), []


def flood(partition: CallsPartition, begun: int) -> None:
    """From a time on, calls begin."""
    for first in range(0, CALLS, 1000):
        partition.process([opened(number, begun) for number in range(first, first + 1000)], WALL)
        partition.checkpoint()
    assert sum(partition.open_by_status().values()) == CALLS


def read(partition: CallsPartition, offset: int, ts: int) -> int:
    """A record that is rejected moves the time: what is due by it is done in pieces. How many calls were published."""
    published = 0
    while not partition.process([(offset, ts, b"", b"", [])], WALL):
        published += len(partition.checkpoint().outputs["completed"])
    return published + len(partition.checkpoint().outputs["completed"])


def drain(partition: CallsPartition, begun: int) -> None:
    """They time out, and are forgotten."""
    assert read(partition, CALLS + 1, begun + 7 * HOUR) == CALLS
    assert sum(partition.open_by_status().values()) == 0
    read(partition, CALLS + 2, begun + 40 * HOUR)
    assert len(partition) == 0


def test_what_a_call_that_never_ends_costs() -> None:
    """docs/security.md says about 650 bytes."""
    partition = CallsPartition(Rules("calls", 6 * HOUR, 24 * HOUR, 300_000, 60_000, CallDecoder()), 0)
    flood(partition, 0)  # caches fill
    drain(partition, 0)
    gc.collect()
    tracemalloc.start()
    try:
        flood(partition, 100 * HOUR)
        gc.collect()
        each = tracemalloc.get_traced_memory()[0] / CALLS
        assert 300 < each < 900
        drain(partition, 100 * HOUR)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] / CALLS < each / 2, "what is left are caches"
    finally:
        tracemalloc.stop()
