"""What a replay publishes beside what the topic of completed calls holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct, field

from streams import reading
from streams.codecs import ClosedBy, Source
from streams.engine.processor import Output
from streams.engine.writer import partition_of
from streams.errors import OperatorError

Verdict = Literal["equal", "missing", "differing", "extra"]
FAULTS: Final[tuple[Verdict, ...]] = ("missing", "differing", "extra")


class _Completed(Struct):
    """What of a CompletedCall tells where it belongs."""

    id: str
    revision: int
    closed_by: ClosedBy
    source: Source


_decode: Final = msgspec.json.Decoder(_Completed).decode


class _Revision(NamedTuple):
    number: int
    digest: bytes
    #: Of the real ones: whether a replay of the range must come to it too.
    expected: bool = True


_Call: TypeAlias = tuple[int, str]


class Extent(Struct):
    """What was replayed of one partition of the log."""

    #: The first and the last offset, by partition of the calls topic; in between nothing is left out.
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    #: The ids of the calls that are open at its end: if their timeout closed them, it did so later.
    open: Collection[bytes] = ()

    def cover(self, records: Iterable[Source]) -> None:
        """Further records, by where they lie in the calls topic."""
        offsets = self.offsets
        for source in records:
            first, _ = offsets.get(source.partition, (source.offset, 0))
            offsets[source.partition] = first, source.offset

    def causes(self, call: _Completed) -> bool:
        """Whether a replay must come to this revision too."""
        first, last = self.offsets.get(call.source.partition, (0, -1))
        is_later = call.closed_by == "timeout" and call.id.encode() in self.open
        return first <= call.source.offset <= last and not is_later


class Difference(Struct):
    """One call whose last revision is not the same; or, with `revision`, one revision that is not."""

    verdict: Verdict
    partition: int
    id: str
    revision: int | None = None


class Comparison:
    """Of the calls by their last revision in the range, and of every revision that is still there.

    Equal is what is equal in key, value and timestamp. The real topic may be compacted: a revision that is gone
    while a later one is there counts as `compacted`, and a call of which only revisions from past the range are
    left as `later`; neither is a fault. Takes about 300 bytes a revision.
    """

    def __init__(self) -> None:
        self._replayed: dict[_Call, list[_Revision]] = {}
        self._real: dict[_Call, list[_Revision]] = {}
        self.differences: list[Difference] = []
        self.calls: Counter[str] = Counter(dict.fromkeys(("equal", *FAULTS, "later"), 0))
        self.revisions: Counter[str] = Counter(dict.fromkeys(("equal", *FAULTS, "compacted"), 0))

    @property
    def is_equal(self) -> bool:
        """Whether nothing is at fault."""
        return not self.differences

    def add(self, partition: int, records: Iterable[Output]) -> None:
        """What the replay has published from one partition of the log, in order."""
        for key, value, timestamp, _ in records:
            assert value is not None, "a CompletedCall has a value"
            call = _decode(value)
            self._replayed.setdefault((partition, call.id), []).append(
                _Revision(call.revision, _digest(key, value, timestamp))
            )

    async def read(
        self, consumer: Any, topic: str, extents: Mapping[int, Extent], keyed: int | None = None
    ) -> None:
        """Compare with the real topic what was replayed, by partition of the log.

        `keyed` is how many partitions that has, where its records lie by call id and not as in the calls topic.
        """
        logs = await reading.partitions(consumer, topic)
        async for batch in reading.read(consumer, await reading.whole(consumer, logs)):
            for offset, timestamp, key, value, _ in batch.records:
                if value is None:
                    continue
                call = _read(topic, offset, value)
                number = call.source.partition if keyed is None else partition_of(call.id.encode(), keyed)
                extent = extents.get(number)
                if extent is not None:
                    self._real.setdefault((number, call.id), []).append(
                        _Revision(call.revision, _digest(key, value, timestamp), extent.causes(call))
                    )
        self._compare()

    def _compare(self) -> None:
        for call in sorted(self._replayed.keys() | self._real.keys()):
            replayed, real = self._replayed.get(call, []), self._real.get(call, [])
            self._count(self.calls, call, _last(replayed, real))
            for number, verdict in _each(replayed, real):
                self._count(self.revisions, call, verdict, number)

    def _count(
        self, counts: Counter[str], call: _Call, verdict: str | None, number: int | None = None
    ) -> None:
        if verdict is not None:
            counts[verdict] += 1
        if verdict in FAULTS:
            self.differences.append(Difference(verdict, *call, number))


def _read(topic: str, offset: int, value: bytes) -> _Completed:
    try:
        return _decode(value)
    except msgspec.MsgspecError:
        raise OperatorError(f"the record of {topic} at offset {offset} is no CompletedCall") from None


def _last(replayed: Sequence[_Revision], real: Sequence[_Revision]) -> str | None:
    """The verdict on a call; None when it is none of the range."""
    if not replayed:
        return "extra" if any(each.expected for each in real) else None
    if not real:
        return "missing"
    wanted = replayed[-1]
    inside = [each for each in real if each.expected]
    if any(each.digest == wanted.digest for each in (inside[-1:] or real)):
        return "equal"
    if not inside and all(each.number > wanted.number for each in real):
        return "later"
    return "differing"


def _each(replayed: Sequence[_Revision], real: Sequence[_Revision]) -> Iterator[tuple[int, str]]:
    """Number and verdict of each revision."""
    there, numbers = {each.digest for each in real}, {each.number for each in real}
    for at, each in enumerate(replayed):
        # A call that was forgotten and begun anew counts its revisions anew, under the same key.
        begun_anew = any(later.number <= each.number for later in replayed[at + 1 :])
        if each.digest in there:
            yield each.number, "equal"
        elif each.number in numbers and not begun_anew:
            yield each.number, "differing"
        else:
            gone = (begun_anew and numbers) or any(number > each.number for number in numbers)
            yield each.number, "compacted" if gone else "missing"
    known = {each.number for each in replayed}
    for each in real:
        if each.expected and each.number not in known:
            yield each.number, "extra"


def _digest(key: bytes | None, value: bytes, timestamp: int) -> bytes:
    return blake2b(b"%d %b %b" % (timestamp, key or b"", value), digest_size=16).digest()
