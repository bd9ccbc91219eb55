"""What the engine has to be told."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.engine.fetch import PATIENCE_MS
from streams.engine.processor import POSITION, Processor
from streams.records import Output, Rows


def wall_clock() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Config:
    """Durations are in milliseconds."""

    group: str
    #: The topic that is read, and those that are written, by the names that the processor's checkpoints use.
    source: str
    topics: Mapping[str, str]
    changelog: str
    #: Makes the processor of one partition of the source, with what it has on disk (None: nothing is kept there).
    processor: Callable[[int, Rows | None], Processor]
    #: Keyword arguments of every aiokafka client: where the brokers are and how to talk to them.
    client: Mapping[str, Any]
    #: Outputs whose records lie where Kafka's default partitioner puts their keys. Those of the others, and records
    #: without a key, lie in the partition that has the source's number.
    keyed: Collection[str] = ()
    #: Where local stores lie; None: all state is in memory.
    stores: Path | None = None
    #: By output: the next smaller form of a record that its topic does not take, see `packing.Shrink`.
    shrink: Mapping[str, Callable[[Output], Output | None]] = field(default_factory=dict)
    commit_interval: int = 100
    #: Static group membership; None for a member that is new with every start.
    instance_id: str | None = None
    session_timeout: int = 10_000
    #: A dead worker's transaction holds read_committed readers up for so long, unless a new owner ends it before.
    transaction_timeout_ms: int = 30_000
    #: Move time on in partitions with nothing to read.
    idle_clock: bool = True
    #: Nothing has come for so long: a partition is idle.
    idle_after: int = 60_000
    #: The brokers have taken nothing for so long: they are lost, and the worker ends.
    lost_after: int = 120_000
    #: A worker that has not asked for records for so long leaves the group: its loop hangs.
    max_poll_interval: int = 10 * 60_000
    position_key: bytes = POSITION
    wall_clock: Callable[[], int] = field(default=wall_clock)

    def consumer(self) -> dict[str, Any]:
        """Keyword arguments of the consumer of the source."""
        return {
            **self.client,
            "client_id": self.group,
            "group_id": self.group,
            "group_instance_id": self.instance_id,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            # A producer upstream may be transactional: what it aborted was never said.
            "isolation_level": "read_committed",
            "fetch_max_wait_ms": PATIENCE_MS,
            "max_partition_fetch_bytes": 1 << 20,
            "session_timeout_ms": self.session_timeout,
            # Heartbeats tell members of a rebalance, and all wait for the last that hears of it.
            "heartbeat_interval_ms": min(500, self.session_timeout // 3),
            "rebalance_timeout_ms": 60_000,
            "max_poll_interval_ms": self.max_poll_interval,
            "request_timeout_ms": max(40_000, self.session_timeout),
            "metadata_max_age_ms": 60_000,
        }

    def reader(self) -> dict[str, Any]:
        """Keyword arguments of a consumer without a group, for the changelog and for looking at logs."""
        return {
            **self.client,
            "client_id": f"{self.group}-restore",
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "max_partition_fetch_bytes": 4 << 20,
        }
