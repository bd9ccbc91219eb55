"""Simulated calls: what a telephone system would send, generated from a seed.

Pure and deterministic: the same seed gives the same calls, byte for byte where the start is the same. The mix decides
only how they are reported (repeated, late, damaged, cut off), never what happens in them.
"""

from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import accumulate, count
from random import Random
from typing import Final, NamedTuple, TypeAlias

import msgspec

from streams.codecs import Call, Status

Event: TypeAlias = tuple[int, bytes, bytes]
"""Event time in ms since 1970, key (the call id) and value of one record."""

LIFESPAN_MS: Final = 240_000
"""Every event of a call is earlier than this after the call's start."""


@dataclass(frozen=True)
class Mix:
    """Shares, from 0 to 1, of what goes wrong; the defaults are the standard mix of the benchmarks.

    Of events: `duplicates` are sent twice; `disorder` arrive only after the next event of their call, with
    their own event time; `invalid` are followed by a damaged copy, which is to be rejected. Of calls:
    `unterminated` never end.
    """

    duplicates: float = 0.05
    disorder: float = 0.02
    invalid: float = 0.01
    unterminated: float = 0.0


STANDARD_MIX: Final = Mix()


def events(
    seed: int, calls: int | None, rate: float, start_ms: int, mix: Mix = STANDARD_MIX
) -> Iterator[Event]:
    """The events of `calls` calls (None: without end), of which `rate` start per second, from `start_ms` on.

    About four per call, in order of time except for those that the mix delays. Memory holds only the events of calls in
    progress.
    """
    script, noise = Random(f"{seed}/calls"), Random(f"{seed}/noise")
    gap = 1000 / rate
    under_way: list[tuple[int, int, Event]] = []
    ticket = count()
    for number in count() if calls is None else range(calls):
        earliest = start_ms + int(number * gap)
        while under_way and under_way[0][0] < earliest:
            yield heappop(under_way)[2]
        told = _tell_call(script, earliest + int(script.random() * gap))
        if noise.random() < mix.unterminated:
            told = told[: 1 + int(noise.random() * 2)]
        for arrival, event in _arrivals(noise, told, mix):
            heappush(under_way, (arrival, next(ticket), event))
    while under_way:
        yield heappop(under_way)[2]


class _Plan(NamedTuple):
    """Numbers of one country: prefixes, how many digits follow, and the price of a minute in 1/10,000."""

    weight: float
    prefixes: tuple[str, ...]
    digits: int
    tariff: int
    currency: str


_PLANS: Final = (
    _Plan(0.34, ("+1212555", "+1312555", "+1415555", "+1617555"), 4, 130, "USD"),
    _Plan(0.06, ("+1416555", "+1604555"), 4, 140, "USD"),
    _Plan(0.16, ("+4420794", "+4474001", "+4416149"), 5, 158, "GBP"),
    _Plan(0.10, ("+4930901", "+4989380", "+49151234"), 5, 210, "EUR"),
    _Plan(0.09, ("+33142", "+33612", "+33472"), 6, 190, "EUR"),
    _Plan(0.06, ("+34912", "+34612"), 6, 180, "EUR"),
    _Plan(0.05, ("+31205", "+31612"), 6, 240, "EUR"),
    _Plan(0.04, ("+551130", "+552125"), 6, 450, "USD"),
    _Plan(0.04, ("+9198765", "+9199201"), 5, 320, "USD"),
    _Plan(0.03, ("+813359",), 5, 750, "USD"),
    _Plan(0.03, ("+612926", "+614129"), 5, 410, "USD"),
)
_PLAN_BOUNDS: Final = list(accumulate(plan.weight for plan in _PLANS))[:-1]
_ENDS: Final[tuple[Status, ...]] = ("completed", "no-answer", "busy", "canceled", "failed")
_END_BOUNDS: Final = (0.71, 0.83, 0.90, 0.95)
_URL: Final = "https://voice.example.com/v1/accounts/AC5ef872f6/flows/main"
_CALLBACK: Final = "https://hooks.example.com/v1/accounts/AC5ef872f6/call-events"
_RECORDING: Final = "https://media.example.com/v1/accounts/AC5ef872f6/recordings/"
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_encode: Final = msgspec.json.Encoder().encode


def _tell_call(script: Random, at: int) -> list[Event]:
    """All events of a call that starts at `at` ms, as its parts happen."""
    chance = script.random
    plan = _PLANS[bisect(_PLAN_BOUNDS, chance())]
    call = _new_call(script, plan)
    key = call.id.encode()
    told = [(at, key, _encode(call))]
    end = _ENDS[bisect(_END_BOUNDS, chance())]
    if end in ("completed", "no-answer", "busy") or chance() < 0.5:
        at += 200 + int(800 * chance())
        call.status = "ringing"
        told.append((at, key, _encode(call)))
    if end == "completed":
        _tell_talk(script, call, plan, at + 1_000 + int(9_000 * chance()), key, told)
    else:
        call.status = end
        at += 12_000 + int(8_000 * chance()) if end == "no-answer" else 300 + int(6_000 * chance())
        told.append((at, key, _encode(call)))
    return told


def _new_call(script: Random, plan: _Plan) -> Call:
    bits = f"{script.getrandbits(128):032x}"
    mine, theirs = f"+1415200{int(script.random() * 200):04d}", _number(script, plan)
    outbound = script.random() < 0.6
    return Call(
        id=f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}",
        status="queued",
        direction="outbound" if outbound else "inbound",
        from_=mine if outbound else theirs,
        to=theirs if outbound else mine,
        url=_URL,
        status_callback=_CALLBACK,
    )


def _number(script: Random, plan: _Plan) -> str:
    prefix = plan.prefixes[int(script.random() * len(plan.prefixes))]
    return f"{prefix}{int(script.random() * 10**plan.digits):0{plan.digits}d}"


def _tell_talk(script: Random, call: Call, plan: _Plan, at: int, key: bytes, told: list[Event]) -> None:
    """The answer, the end, and what becomes known only afterwards: the price, the recording."""
    chance = script.random
    call.status, call.start_time = "in-progress", _instant(at)
    if call.direction == "outbound":
        call.answered_by = "human" if chance() < 0.7 else "machine" if chance() < 0.7 else "unknown"
    told.append((at, key, _encode(call)))
    talk = min(2_000 + int(script.expovariate(1 / 25_000)), 180_000)
    at += talk
    call.status, call.end_time, call.duration = "completed", _instant(at), talk // 1000
    priced = chance() < 0.6
    if priced:
        _charge(call, plan, talk)
    told.append((at, key, _encode(call)))
    if not priced:
        at += 2_000 + int(13_000 * chance())
        _charge(call, plan, talk)
        told.append((at, key, _encode(call)))
    if chance() < 0.15:
        call.recording_url = f"{_RECORDING}{call.id}"
        told.append((at + 3_000 + int(17_000 * chance()), key, _encode(call)))


def _charge(call: Call, plan: _Plan, talk_ms: int) -> None:
    whole, fraction = divmod(-(-talk_ms // 60_000) * plan.tariff, 10_000)
    call.price, call.price_unit = f"-{whole}.{fraction:04d}", plan.currency


def _instant(ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")[:-6] + "Z"


def _arrivals(noise: Random, told: list[Event], mix: Mix) -> Iterator[tuple[int, Event]]:
    """The events of a call with the moments at which they arrive, and those that the mix adds."""
    chance, last = noise.random, len(told) - 1
    # The last event cannot be overtaken: the others make up for it.
    disorder = mix.disorder * len(told) / max(1, last)
    for index, event in enumerate(told):
        arrival = event[0]
        if chance() < disorder and index < last:
            arrival = told[index + 1][0] + 1
        yield arrival, event
        if chance() < mix.duplicates:
            yield arrival + 1 + int(150 * chance()), event
        if chance() < mix.invalid:
            at, key, value = event
            yield arrival, (at, key, _damaged(noise, value))


def _damaged(noise: Random, value: bytes) -> bytes:
    """A value that is certainly rejected: empty, cut short, not UTF-8, or not quite a Call."""
    kinds = (
        b"",
        value[: len(value) // 2],
        value.replace(b"https", b"htt\xff", 1),
        value.replace(b'"from":"+', b'"from":"00', 1),
        value.replace(b'"to":', b'"callee":', 1),
        value.replace(b'"status":"', b'"status":"was-', 1),
        value[:-1] + b',"duration":-1}',
    )
    return kinds[int(noise.random() * len(kinds))]
