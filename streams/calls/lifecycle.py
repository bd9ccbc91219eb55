"""How one event changes one call (semantics, section 3). What is published, and when, is decided elsewhere."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from streams.calls.anomalies import CONFLICTING_STATUS, IDENTITY_CHANGED, OUT_OF_ORDER
from streams.calls.state import RANK, SEEN, CallState, share_number, shared
from streams.calls.times import utc
from streams.codecs import Call

#: What `apply` did, as bits: something a record says has changed; the event was stale.
CHANGED: Final = 1
STALE: Final = 2


def begin(event: Call, ts: int, offset: int) -> CallState:
    """The state of a call after its first event, with event time `ts` (ms), at `offset`."""
    state = CallState(
        None,
        event.status,
        event.direction,
        event.from_,
        event.to,
        ts,
        offset,
    )
    _replace(state, event)
    setattr(state, SEEN[event.status], ts)
    return share_number(state)


def apply(state: CallState, event: Call, ts: int, offset: int) -> int:
    """Apply a later event of the call in place; returns the bits CHANGED and STALE.

    It is applied as a whole or not at all: everything that may raise comes before the first assignment.

    CHANGED means that a record of the call would now differ, apart from `revision`, `events` and `source`; with neither
    CHANGED nor STALE, the event was a duplicate.
    """
    status = event.status
    rank, known = RANK[status], RANK[state.status]
    stale = rank < known
    history = state.history
    if event.to != state.to or event.from_ != state.from_ or event.direction != state.direction:
        history |= IDENTITY_CHANGED
    if stale:
        history |= OUT_OF_ORDER
        changed = _fill(state, event)
    else:
        changed = _replace(state, event)
        if status != state.status:
            if rank == known:
                history |= CONFLICTING_STATUS
            state.status = status
            changed = True
            if rank == 3:
                state.timed_out = False
    slot = SEEN[status]
    seen = getattr(state, slot)
    if seen is None or ts < seen:
        setattr(state, slot, ts)
        changed = True
    if history != state.history:
        state.history = history
        changed = True
    if ts > state.last:
        state.last = ts
    state.events += 1
    state.offset = offset
    return (CHANGED if changed else 0) | (STALE if stale else 0)


def _replace(state: CallState, event: Call) -> bool:
    """Present properties replace the stored ones. Unrolled: a loop over names costs 1.5 us an event."""
    # Calls of other functions, which may raise, come before the first assignment.
    if (start := event.start_time) is not UNSET:
        start = UNSET if start == state.start_time else utc(start)
    if (end := event.end_time) is not UNSET:
        end = UNSET if end == state.end_time else utc(end)
    if (url := event.url) is not UNSET:
        url = UNSET if url == state.url else shared(url)
    if (callback := event.status_callback) is not UNSET:
        callback = UNSET if callback == state.status_callback else shared(callback)
    changed = False
    if start is not UNSET and start != state.start_time:
        state.start_time, changed = start, True
    if end is not UNSET and end != state.end_time:
        state.end_time, changed = end, True
    if url is not UNSET:
        state.url, changed = url, True
    if callback is not UNSET:
        state.status_callback, changed = callback, True
    if (answered_by := event.answered_by) is not UNSET and answered_by != state.answered_by:
        state.answered_by, changed = answered_by, True
    if (duration := event.duration) is not UNSET and duration != state.duration:
        state.duration, changed = duration, True
    if (price := event.price) is not UNSET and price != state.price:
        state.price, changed = price, True
    if (unit := event.price_unit) is not UNSET and unit != state.price_unit:
        state.price_unit, changed = unit, True
    if (recording := event.recording_url) is not UNSET and recording != state.recording_url:
        state.recording_url, changed = recording, True
    return changed


def _fill(state: CallState, event: Call) -> bool:
    """A stale event fills only what is still absent. It is rare, so a loop is fast enough."""
    absent = {
        name: utc(value) if name in _TIMES else value
        for name in _OPTIONAL
        if (value := getattr(event, name)) is not UNSET and getattr(state, name) is None
    }
    for name, value in absent.items():
        setattr(state, name, value)
    return bool(absent)


_TIMES: Final = frozenset(("start_time", "end_time"))
_OPTIONAL: Final = (
    "duration",
    "start_time",
    "end_time",
    "price",
    "price_unit",
    "recording_url",
    "url",
    "status_callback",
    "answered_by",
)
