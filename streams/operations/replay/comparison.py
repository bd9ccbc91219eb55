"""Compares what a replay publishes with the topics of completed calls and KPI windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import msgspec
from aiokafka import TopicPartition
from msgspec import Struct

from streams.calls.times import instant
from streams.engine.writer import partition_of
from streams.kafka import reading
from streams.kafka.reading import Progress
from streams.operations.replay.extent import UNKNOWN, Completed, Extent, WindowPlace
from streams.operations.replay.spill import Spill
from streams.operations.replay.verdicts import (
    DIFFERENCE_KINDS,
    ComparedRevision,
    ComparedWindow,
    DifferenceKind,
    call_verdict,
    is_removed,
    revision_verdicts,
    window_verdict,
)
from streams.records import Output
from streams.settings import Settings


class _Window(Struct):
    """What of a KPI window tells where it belongs."""

    window_start: str
    window_end: str
    direction: str
    country: str
    partition: int

    @property
    def place(self) -> WindowPlace:
        return self.window_start, self.direction, self.country


_Entry: TypeAlias = ComparedRevision | ComparedWindow

_decode_call: Final = msgspec.json.Decoder(Completed).decode
_decode_window: Final = msgspec.json.Decoder(_Window).decode
_pack: Final = msgspec.msgpack.Encoder().encode
_unpack_revision: Final = msgspec.msgpack.Decoder(ComparedRevision).decode
_unpack_sums: Final = msgspec.msgpack.Decoder(ComparedWindow).decode


class Difference(Struct):
    """One call whose last revision is not the same; with `revision`, one revision; without an id, a KPI window."""

    verdict: DifferenceKind
    partition: int
    id: str | None = None
    revision: int | None = None
    window: str | None = None


class Comparison:
    """Of the calls by their last revision in the range, of every revision that is still there, and of KPI windows.

    Equal is what is equal in key and value. A record that was stamped with another time, as where its topic has
    `LogAppendTime` or its event is older than half of the topic's retention, counts as `restamped` besides; only one
    that is stamped before its event, by more than a clock may be ahead, differs.

    No differences are: `incomparable`, of which events may lie before the log that was read, or whose records were
    removed from the output topic by its retention; `compacted`, a revision that is gone while a later one is there;
    `later`, a call of which only revisions from past the range are left; `open`, a window that is still, or may have
    been, amended from past the range.

    Memory: what `Spill` takes, and some 5 bytes a revision when it compares.
    """

    def __init__(self, settings: Settings, tell: Callable[[Difference], None]) -> None:
        """`tell` is called with each difference as it is found."""
        self._settings, self._tell = settings, tell
        self._calls, self._windows = Spill(), Spill()
        self._extents: Mapping[int, Extent] = {}
        self.calls = _counter("later", "incomparable")
        self.revisions = _counter("compacted", "incomparable", "restamped")
        self.windows = _counter("open", "incomparable")
        #: Foreign records in the output topics, by `completed` and `kpis`.
        self.foreign = Counter(dict.fromkeys(("completed", "kpis"), 0))

    @property
    def counts(self) -> dict[str, Counter[str]]:
        """The verdicts, by kind, and the `foreign` records in the output topics, which somebody else wrote."""
        return {
            "calls": self.calls,
            "revisions": self.revisions,
            "windows": self.windows,
            "foreign": self.foreign,
        }

    @property
    def differences(self) -> int:
        """How many differences have been reported."""
        return sum(
            each[kind] for each in (self.calls, self.revisions, self.windows) for kind in DIFFERENCE_KINDS
        )

    @property
    def is_empty(self) -> bool:
        """Whether there were calls, but none of them could be compared."""
        return bool(self.calls["incomparable"]) and not self.calls.total() - self.calls["incomparable"]

    def add(self, partition: int, extent: Extent, outputs: Mapping[str, Iterable[Output]]) -> None:
        """Add what the replay has published from one partition of the log, in order."""
        width = self._settings.kpi_window
        for key, value, timestamp, _ in outputs["completed"]:
            assert value is not None, "a CompletedCall has a value"
            call = _decode_call(value)
            window = call.window(width) if extent.horizon else None
            self._put(_revision(partition, call, key, value, timestamp, window))
        for key, value, _, _ in outputs["kpis"]:
            assert key is not None, "a KPI window has a key"
            assert value is not None, "a KPI window has a value"
            self._put(_sums(partition, _decode_window(value), key, value, is_real=False))

    def _put(self, entry: _Entry) -> None:
        if isinstance(entry, ComparedRevision):
            self._calls.put(b"%d %b" % (entry.partition, entry.id.encode()), _pack(entry))
        else:
            self._windows.put(entry.key.encode(), _pack(entry))

    async def read(
        self, consumer: Any, extents: Mapping[int, Extent], keyed: int | None, progress: Progress
    ) -> None:
        """Read what the real topics hold of the extents, which are by partition of the log.

        `keyed` is how many partitions that has, where its records lie by call id and not as in the calls topic.
        """
        self._extents = extents
        readers: tuple[tuple[str, str, Callable[..., _Entry | None]], ...] = (
            ("completed", self._settings.completed_topic, self._real_call),
            ("kpis", self._settings.kpis_topic, self._real_window),
        )
        for kind, topic, real in readers:
            logs = await reading.whole(consumer, await reading.partitions(consumer, topic))
            self._remaining(kind, logs, {log: UNKNOWN for log, (first, _) in logs.items() if first})
            seen: set[TopicPartition] = set()
            async with aclosing(reading.read(consumer, logs, progress)) as batches:
                async for batch in batches:
                    log = batch.partition
                    if log not in seen and batch.records and logs[log][0]:
                        self._remaining(kind, logs, {log: instant(batch.records[0][1])})
                    seen.add(log)
                    for _, timestamp, key, value, _ in batch.records:
                        if value is not None and (found := real(key, value, timestamp, keyed)) is not None:
                            self._put(found)

    def _remaining(
        self, kind: str, logs: Mapping[TopicPartition, Any], since: Mapping[TopicPartition, str]
    ) -> None:
        """From when on the records of a topic remain in some of its partitions."""
        for log, moment in since.items():
            for number, extent in self._extents.items():
                if number % len(logs) == log.partition:
                    extent.removed[kind] = moment

    def _real_call(
        self, key: bytes | None, value: bytes, timestamp: int, keyed: int | None
    ) -> ComparedRevision | None:
        try:
            call = _decode_call(value)
        except msgspec.MsgspecError:
            self.foreign["completed"] += 1
            return None
        number = call.source.partition if keyed is None else partition_of(call.id.encode(), keyed)
        extent = self._extents.get(number)
        if extent is None:
            return None
        window = call.window(self._settings.kpi_window) if extent.horizon else None
        return _revision(number, call, key, value, timestamp, window, expected=extent.causes(call))

    def _real_window(
        self, key: bytes | None, value: bytes, _timestamp: int, _keyed: int | None
    ) -> ComparedWindow | None:
        try:
            window = _decode_window(value)
        except msgspec.MsgspecError:
            self.foreign["kpis"] += 1
            return None
        if key is None or window.partition not in self._extents:
            return None
        return _sums(window.partition, window, key, value, is_real=True)

    def compare(self) -> None:
        """Judge all that was replayed and read."""
        for part in self._calls.parts():
            calls: dict[tuple[int, str], tuple[list[ComparedRevision], list[ComparedRevision]]] = {}
            for entry in map(_unpack_revision, part):
                calls.setdefault((entry.partition, entry.id), ([], []))[entry.is_real].append(entry)
            for (number, call_id), (replayed, real) in sorted(calls.items(), key=lambda item: item[0]):
                self._judge(self._extents[number], number, call_id, replayed, real)
        for part in self._windows.parts():
            windows: dict[str, dict[bool, ComparedWindow]] = {}
            for sums in map(_unpack_sums, part):  # the last value of a key is the one that counts
                windows.setdefault(sums.key, {})[sums.is_real] = sums
            for key, found in sorted(windows.items()):
                either = found.get(False) or found[True]
                verdict = window_verdict(self._extents[either.partition], found.get(False), found.get(True))
                self._count(self.windows, verdict, either.partition, window=key)
        self._calls.close()
        self._windows.close()

    def _judge(
        self,
        extent: Extent,
        number: int,
        call_id: str,
        replayed: Sequence[ComparedRevision],
        real: Sequence[ComparedRevision],
    ) -> None:
        both = [*replayed, *real]
        has_all = all(extent.has_all_of(each.begun) for each in both)
        if not has_all:
            # Whatever it did later: a replay may take it for new although it was still remembered, or the other way
            # round.
            extent.partial.update(each.window for each in both if each.window is not None)
        if not has_all or is_removed(extent, replayed, real):
            self.calls["incomparable"] += 1
            self.revisions["incomparable"] += len(replayed) or len(real)
            return
        skew = self._settings.max_clock_skew
        self._count(self.calls, call_verdict(replayed, real, skew), number, id=call_id)
        for revision, verdict in revision_verdicts(replayed, real, skew):
            self._count(self.revisions, verdict, number, id=call_id, revision=revision)

    def _count(self, counts: Counter[str], verdict: str | None, partition: int, **what: Any) -> None:
        if verdict is not None:
            counts[verdict] += 1
        if verdict in DIFFERENCE_KINDS:
            self._tell(Difference(verdict, partition, **what))


def _counter(*more: str) -> Counter[str]:
    return Counter(dict.fromkeys(("equal", *DIFFERENCE_KINDS, *more), 0))


def _revision(
    partition: int,
    call: Completed,
    key: bytes | None,
    value: bytes,
    timestamp: int,
    window: WindowPlace | None,
    expected: bool | None = None,
) -> ComparedRevision:
    """A real revision with the decision whether it is `expected`."""
    return ComparedRevision(
        partition,
        call.id,
        expected is not None,
        call.revision,
        blake2b(b"%b %b" % (key or b"", value), digest_size=16).digest(),
        timestamp,
        call.begun,
        expected is not False,
        window,
    )


def _sums(partition: int, window: _Window, key: bytes, value: bytes, *, is_real: bool) -> ComparedWindow:
    digest = blake2b(value, digest_size=16).digest()
    return ComparedWindow(
        partition, key.decode("utf-8", "replace"), is_real, digest, window.place, window.window_end
    )
