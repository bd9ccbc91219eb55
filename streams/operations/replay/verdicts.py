"""What is said of one call, one revision and one KPI window that was replayed, beside what was published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Final, Literal, get_args

from msgspec import Struct

from streams.calls.times import instant
from streams.operations.replay.extent import Extent, WindowPlace

DifferenceKind = Literal["missing", "differing", "extra"]
DIFFERENCE_KINDS: Final[tuple[DifferenceKind, ...]] = get_args(DifferenceKind)


class ComparedRevision(Struct, array_like=True):
    """One published revision, replayed or real."""

    partition: int
    id: str
    is_real: bool
    number: int
    digest: bytes
    timestamp: int
    #: The earliest event time of its call.
    begun: str
    #: Of the real ones: whether a replay of the range must come to it too.
    expected: bool
    #: Where the call is counted; None when all events lie in the log.
    window: WindowPlace | None


class ComparedWindow(Struct, array_like=True):
    """One published KPI window, replayed or real."""

    partition: int
    key: str
    is_real: bool
    digest: bytes
    place: WindowPlace
    end: str


def is_removed(
    extent: Extent, replayed: Sequence[ComparedRevision], real: Sequence[ComparedRevision]
) -> bool:
    """Whether the call is missing because its topic no longer keeps its records."""
    removed = extent.removed.get("completed", "")
    return not real and all(instant(each.timestamp) <= removed for each in replayed)


def _is_same(replayed: ComparedRevision, real: ComparedRevision, skew: int) -> bool:
    return replayed.digest == real.digest and real.timestamp >= replayed.timestamp - skew


def call_verdict(
    replayed: Sequence[ComparedRevision], real: Sequence[ComparedRevision], skew: int
) -> str | None:
    """The verdict on a call; None if it is not in the range."""
    if not replayed:
        return "extra" if any(each.expected for each in real) else None
    if not real:
        return "missing"
    wanted = replayed[-1]
    inside = [each for each in real if each.expected]
    if any(_is_same(wanted, each, skew) for each in (inside[-1:] or real)):
        return "equal"
    if not inside and all(each.number > wanted.number for each in real):
        return "later"
    return "differing"


def revision_verdicts(
    replayed: Sequence[ComparedRevision], real: Sequence[ComparedRevision], skew: int
) -> Iterator[tuple[int, str]]:
    """Number and verdict of each revision; a second one for what is stamped otherwise."""
    stamps: dict[bytes, list[int]] = {}
    for each in real:
        stamps.setdefault(each.digest, []).append(each.timestamp)
    numbers = {each.number for each in real}
    highest, least_later = max(numbers, default=0), inf
    for each in reversed(replayed):
        # A call that was forgotten and has begun again counts its revisions from 1 again, under the same key.
        started_over = least_later <= each.number
        least_later = min(least_later, each.number)
        same = [at for at in stamps.get(each.digest, ()) if at >= each.timestamp - skew]
        if same:
            yield each.number, "equal"
            if each.timestamp not in same:
                yield each.number, "restamped"
        elif each.number in numbers and not started_over:
            yield each.number, "differing"
        else:
            gone = (started_over and numbers) or highest > each.number
            yield each.number, "compacted" if gone else "missing"
    known = {each.number for each in replayed}
    for each in real:
        if each.expected and each.number not in known:
            yield each.number, "extra"


def window_verdict(
    extent: Extent, replayed: ComparedWindow | None, real: ComparedWindow | None
) -> str | None:
    """The verdict on a KPI window; None if it is not in the range."""
    either = replayed or real
    assert either is not None, "there is one of them"
    start = either.place[0]
    if replayed is None and either.end <= extent.begun:
        return None
    if not extent.has_all_of(start) or either.place in extent.partial:
        return "incomparable"
    if replayed is not None and real is not None and replayed.digest == real.digest:
        return "equal"
    is_final = either.end < extent.settled or not (extent.goes_on or start in extent.due)
    if either.end > extent.reached or not is_final:
        return "open"
    if real is None:
        return "incomparable" if either.end <= extent.removed.get("kpis", "") else "missing"
    return "extra" if replayed is None else "differing"
