"""From the state of a closed call to what its revision says (semantics, section 5)."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from streams.calls import anomalies as a
from streams.calls.money import ACTIVE_CURRENCIES, Charge, charge
from streams.calls.numbers import country
from streams.calls.state import CallState
from streams.calls.times import elapsed, elapsed_since, instant, milliseconds
from streams.codecs import CompletedCall, Source, Timeline

_is_uuid: Final = re.compile("[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}").fullmatch
_SECOND: Final = 1_000_000


class Facts(Struct, gc=False):
    """What is computed from a call's state, for the record, the KPI windows and the metrics."""

    from_country: str | None
    to_country: str | None
    answered: bool
    #: Exact differences, rounded half to even at milliseconds; None when unknown or negative.
    ring_ms: int | None
    talk_ms: int | None
    #: The charge, currency and amount (minus the price); None without a valid price in an active currency.
    charge: Charge | None
    #: There is a price, but no charge.
    uncharged: bool
    #: All anomalies, including those from the history, as bits.
    anomalies: int


def facts(call_id: str, state: CallState) -> Facts:
    """Derive what a revision says beyond the merged event."""
    start, end = state.start_time, state.end_time
    answered = state.in_progress is not None or start is not None or state.status == "completed"
    bits = state.history & a.OF_HISTORY
    if state.status == "completed" and start is None and state.in_progress is None:
        bits |= a.MISSING_ANSWER
    talk_ms: int | None = None
    if start is not None and end is not None:
        talk = elapsed(start, end)
        if talk >= 0:
            talk_ms = milliseconds(talk)
        else:
            bits |= a.END_BEFORE_START
        if state.duration is not None and not -_SECOND <= talk - state.duration * _SECOND <= _SECOND:
            bits |= a.DURATION_MISMATCH
    currency, cost = state.price_unit, None
    if state.price is not None:
        amount = charge(state.price)
        if amount is None:
            bits |= a.PRICE_INVALID
        elif currency in ACTIVE_CURRENCIES:
            cost = currency, amount
        if currency is None:
            bits |= a.PRICE_WITHOUT_CURRENCY
    if currency is not None and currency not in ACTIVE_CURRENCIES:
        bits |= a.CURRENCY_UNKNOWN
    if not _is_uuid(call_id):
        bits |= a.ID_NOT_UUID
    from_country, to_country = country(state.from_), country(state.to)
    if from_country is None or to_country is None:
        bits |= a.NUMBER_UNKNOWN
    uncharged = state.price is not None and cost is None
    return Facts(from_country, to_country, answered, _ring(state, answered), talk_ms, cost, uncharged, bits)


def _ring(state: CallState, answered: bool) -> int | None:
    """From the first ringing to the answer, otherwise to the current terminal status; in ms."""
    if state.ringing is None:
        return None
    if state.start_time is not None:
        ring = elapsed_since(state.ringing, state.start_time)
        return None if ring < 0 else milliseconds(ring)
    until = state.in_progress
    if until is None and not answered and state.status in _ENDS:
        until = getattr(state, _ENDS[state.status])
    return None if until is None or until < state.ringing else until - state.ringing


_ENDS: Final = {"failed": "failed", "busy": "busy", "no-answer": "no_answer", "canceled": "canceled"}


def record(call_id: str, state: CallState, found: Facts, source: Source) -> CompletedCall:
    """The completed-call record of the state's current revision; `source` is the place of its last event."""
    assert state.closed_at is not None, "only a closed call has a record"
    ring, talk = found.ring_ms, found.talk_ms
    return CompletedCall(
        call_id,
        state.status,
        state.direction,
        state.from_,
        state.to,
        state.revision,
        "timeout" if state.timed_out else "status",
        instant(state.closed_at),
        _timeline(state),
        found.answered,
        state.events,
        source,
        state.duration,
        state.start_time,
        state.end_time,
        state.price,
        state.price_unit,
        state.recording_url,
        state.url,
        state.status_callback,
        state.answered_by,
        found.from_country,
        found.to_country,
        None if ring is None else ring / 1000,
        None if talk is None else talk / 1000,
        a.names(found.anomalies) if found.anomalies else None,
    )


def _timeline(state: CallState) -> Timeline:
    """Performance-critical, and most calls have at most four of the eight statuses: hence no loop and few texts."""
    times = Timeline()
    if (t := state.queued) is not None:
        times.queued = instant(t)
    if (t := state.ringing) is not None:
        times.ringing = instant(t)
    if (t := state.in_progress) is not None:
        times.in_progress = instant(t)
    if (t := state.completed) is not None:
        times.completed = instant(t)
    if (t := state.failed) is not None:
        times.failed = instant(t)
    if (t := state.busy) is not None:
        times.busy = instant(t)
    if (t := state.no_answer) is not None:
        times.no_answer = instant(t)
    if (t := state.canceled) is not None:
        times.canceled = instant(t)
    return times
