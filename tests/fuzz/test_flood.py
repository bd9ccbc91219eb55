"""A flood of calls that never end: what each of them costs, and that the timeout takes all of it back."""

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


def opened(number: int) -> tuple[int, int, bytes, bytes, list[tuple[str, bytes]]]:
    call_id = str(UUID(int=number << 64))
    document = {
        "id": call_id, "status": "queued", "direction": "inbound",
        "from": f"+1212555{number:07d}", "to": f"+442079{number:07d}",
    }  # fmt: skip
    return number, number, call_id.encode(), json.dumps(document).encode(), []


def test_what_a_call_that_never_ends_costs() -> None:
    """docs/security.md says about 600 bytes."""
    partition = CallsPartition(Rules("calls", 6 * HOUR, 24 * HOUR, 300_000, 60_000, CallDecoder()), 0)
    partition.process([opened(0)], WALL)
    gc.collect()
    tracemalloc.start()
    try:
        for first in range(1, CALLS, 1000):
            partition.process([opened(number) for number in range(first, first + 1000)], WALL)
            partition.cut()
        gc.collect()
        each = tracemalloc.get_traced_memory()[0] / CALLS
        assert sum(partition.open_by_status().values()) == CALLS + 1
        assert 300 < each < 900
        partition.process([(CALLS + 1, 7 * HOUR, b"", b"", [])], WALL)
        assert sum(partition.open_by_status().values()) == 0
        assert len(partition.cut().outputs["completed"]) == CALLS + 1
        partition.process([(CALLS + 2, 40 * HOUR, b"", b"", [])], WALL)
        partition.cut()
        assert len(partition) == 0
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] / CALLS < each / 2, "what is left are caches"
    finally:
        tracemalloc.stop()
