"""Logs of one partition for the model and the processor to agree on, dense with the cases of the contract.

Times are short and mostly on a coarse grid, so that moments coincide; calls are few, so that they are seen often enough
to be duplicated, disordered, contradicted, timed out, amended, forgotten and begun again.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import strategies as st
from support import rfc3339
from support.model import Idle, Record, Settings, Step

STATUSES = ["queued", "ringing", "in-progress", "completed", "failed", "busy", "no-answer", "canceled"]
LIVES = [
    ["queued", "ringing", "in-progress", "completed"],
    ["queued", "ringing", "in-progress", "completed", "completed"],
    ["ringing", "in-progress", "completed"],
    ["queued", "ringing", "no-answer"],
    ["queued", "ringing", "busy"],
    ["queued", "canceled"],
    ["queued", "failed"],
    ["queued", "ringing", "in-progress"],
    ["ringing"],
]
NUMBERS = [
    "+12125550123",
    "+14165550199",
    "+442079460958",
    "+4915123456789",
    "+80012345678",
    "+99912345",
    "+12",
]
ODD_IDS = ["", "not-a-uuid", "Anruf ☎", "0" * 36]
PRICES = [
    "-0.0120",
    "-0.0075",
    "-1",
    "0",
    "-0.00",
    "0.50",
    "-12345678901234567890.123456789",
    "free",
    "1e3",
    "",
]
CURRENCIES = ["USD", "EUR", "GBP", "JPY", "BGN", "usd", "ZZZ"]
URLS = ["https://example.com/a", "https://example.com/b?c=1", "urn:x:y", "http://[::1]/"]
GRID = 500


@dataclass
class Scene:
    """What the generator remembers of the log it is writing."""

    random: Random
    settings: Settings
    now: int
    ids: list[str]
    steps: list[Step] = field(default_factory=list)
    progress: dict[str, int] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)


def generate(random: Random, length: int) -> tuple[Settings, list[Step]]:
    """Settings and a log of that many steps; the same from the same random state."""
    settings = Settings(
        call_timeout=random.choice([5_000, 20_000, 60_000]),
        call_retention=random.choice([10_000, 60_000, 300_000]),
        max_clock_skew=random.choice([0, 2_000, 15_000]),
        kpi_window=random.choice([1_000, 10_000, 60_000]),
        nulls=random.choice(["reject", "absent"]),
        partition=random.choice([0, 3]),
    )
    ids = [str(UUID(int=random.getrandbits(128))) for _ in range(1 + length // 6)]
    ids.append(random.choice(ODD_IDS))
    start = random.choice([0, 3_500, 1_764_041_713_000])
    scene = Scene(random, settings, start, ids)
    while len(scene.steps) < length:
        scene.now += pause(scene)
        scene.steps.append(idle(scene) if random.random() < 0.04 else record(scene))
    return settings, scene.steps


def logs(length: int = 40) -> st.SearchStrategy[tuple[Settings, list[Step]]]:
    """Settings and a log of at most that many steps; `smallest` is what makes a failing one readable."""
    seeds = st.integers(0, 2**32 - 1)
    return st.builds(lambda seed, steps: generate(Random(seed), steps), seeds, st.integers(1, length))


def smallest(steps: list[Step], fails: Callable[[list[Step]], bool]) -> list[Step]:
    """What is left of a failing log when no step can be left out: any part of a log is a log."""
    size = len(steps) // 2
    while size:
        for start in range(0, len(steps), size):
            fewer = steps[:start] + steps[start + size :]
            if fails(fewer):
                steps = fewer
                break
        else:
            size //= 2
    return steps


def pause(scene: Scene) -> int:
    """How long nothing happens: seldom, longer than calls last or are remembered."""
    settings = scene.settings
    if scene.random.random() < 0.06:
        return scene.random.choice(
            [settings.call_timeout, settings.call_retention, 2 * settings.call_retention]
        )
    return GRID * scene.random.choice([0, 0, 1, 1, 2, 4, 10])


def idle(scene: Scene) -> Idle:
    return Idle(scene.now + GRID * scene.random.choice([-10, 0, 1, 20]))


def record(scene: Scene) -> Record:
    random = scene.random
    if scene.records and random.random() < 0.08:
        return again(scene, random.choice(scene.records[-10:]))
    call_id = random.choice(scene.ids)
    value, headers = encoded(random, document(scene, call_id))
    key = call_id.encode() if random.random() < 0.9 else random.choice([None, b"", b"other"])
    return placed(scene, key, value, headers)


def again(scene: Scene, earlier: Record) -> Record:
    """The same event as a producer's retry: often with the same timestamp."""
    if scene.random.random() < 0.5:
        return placed(scene, earlier.key, earlier.value, earlier.headers)
    copy = Record(
        len(scene.steps), earlier.timestamp, earlier.key, earlier.value, earlier.headers, earlier.clock
    )
    scene.records.append(copy)
    return copy


def placed(
    scene: Scene, key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...]
) -> Record:
    # Offsets have gaps, as those of a compacted or transactional log do.
    offset = 3 * len(scene.steps) + scene.random.randint(0, 2)
    clock = None if scene.random.random() < 0.2 else scene.now
    made = Record(offset, event_time(scene, clock), key, value, headers, clock)
    scene.records.append(made)
    return made


def event_time(scene: Scene, clock: int | None) -> int | None:
    """Mostly a little late; now and then much too late, ahead, right on a boundary, or absent."""
    random, settings, now = scene.random, scene.settings, scene.now
    choice = random.random()
    if choice < 0.76:
        time = now - GRID * random.choice([0, 0, 0, 1, 2, 6])
    elif choice < 0.84:
        past = random.choice([settings.call_timeout, settings.call_retention])
        time = now - past + random.choice([-1, 0, 1])
    elif choice < 0.90:
        time = now - random.randint(0, 2 * settings.call_retention)
    elif choice < 0.95:
        ahead = random.choice([-1, 0, 1] if clock is None else [-1, 0, 1, 600_000])
        time = now + settings.max_clock_skew + ahead
    else:
        return random.choice([None, -1])
    return max(time, 0)


def document(scene: Scene, call_id: str) -> dict[str, Any]:
    """A valid Call: the next event of its life, or any."""
    random = scene.random
    chance = Random(call_id)
    life = chance.choice(LIVES)
    step = scene.progress.get(call_id, 0)
    scene.progress[call_id] = step + 1
    status = life[min(step, len(life) - 1)] if random.random() < 0.75 else random.choice(STATUSES)
    call: dict[str, Any] = {
        "id": call_id,
        "status": status,
        "direction": chance.choice(["inbound", "outbound"]),
        "from": chance.choice(NUMBERS),
        "to": chance.choice(NUMBERS),
    }
    if random.random() < 0.05:
        call[random.choice(["from", "to"])] = random.choice(NUMBERS)
    if random.random() < 0.03:
        call["direction"] = random.choice(["inbound", "outbound"])
    final = status in STATUSES[3:]
    for name, value in optional(scene).items():
        if random.random() < (0.5 if final else 0.15):
            call[name] = value
    return call


def optional(scene: Scene) -> dict[str, Any]:
    random = scene.random
    return {
        "duration": random.choice([0, 1, 7, 60, 60.0, 6e1, -0.0, 10**15]),
        "start_time": date_time(scene, 10),
        "end_time": date_time(scene, 0),
        "price": random.choice(PRICES),
        "price_unit": random.choice(CURRENCIES),
        "recording_url": random.choice(URLS),
        "url": random.choice(URLS),
        "status_callback": random.choice(URLS),
        "answered_by": random.choice(["human", "machine", "unknown"]),
    }


def date_time(scene: Scene, ago: int) -> str:
    """A time near now, written in one of the many ways that RFC 3339 allows; or an extreme one."""
    random = scene.random
    if random.random() < 0.08:
        return random.choice(
            [
                "0000-01-01T00:00:00+00:01",
                "0000-02-29T12:00:00.000z",
                "9999-12-31T23:59:60Z",
                "2016-12-31T23:59:60.5Z",
                "2017-01-01t05:29:60.25+05:30",
            ]
        )
    second = scene.now // 1000 - random.randint(0, ago)
    minutes = random.choice([0, 0, 0, 60, -90, 330])
    days, clock = divmod(second + minutes * 60, 86_400)
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    fraction = random.choice(["", ".0", ".5", ".0005", ".1234565", ".00050000000000000000001"])
    text = f"{rfc3339.date(days + rfc3339.days_before(1970))}T{clock // 3600:02d}:{clock // 60 % 60:02d}"
    return f"{text}:{clock % 60:02d}{fraction}{zone if minutes else random.choice(['Z', 'z', zone])}"


# --- on the wire ---


def encoded(
    random: Random, call: dict[str, Any]
) -> tuple[bytes | None, tuple[tuple[str, bytes | None], ...]]:
    """Value and headers: seldom spoilt, sometimes unusual, mostly plain JSON."""
    choice = random.random()
    if choice < 0.08:
        return random.choice(SPOILT)(call), ()
    if choice < 0.12:
        return json.dumps(call).encode(), random.choice(UNSUPPORTED)
    if random.random() < 0.05:
        call[random.choice(["start_time", "price", "duration", "x"])] = None
    if random.random() < 0.1:
        call["unknown"] = {"nested": [1, None, "é"]}
    if choice < 0.18:
        return msgspec.msgpack.encode(call), (("content-type", b" Application/MSGPACK ; v=1"),)
    value = json.dumps(call, ensure_ascii=random.random() < 0.5).encode()
    if choice < 0.24:
        return b"\0\0\0\0\7" + value, ()
    return value, random.choice(HEADERS)


HEADERS: list[tuple[tuple[str, bytes | None], ...]] = [
    (),
    (),
    (("trace", b"1"),),
    (("content-type", b"application/json"),),
    (("content-type", b"text/plain"), ("content-type", b"application/json; charset=utf-8")),
    (("content-type", b"  "),),
    (("dead-reason", b"of an earlier life"),),
]
UNSUPPORTED: list[tuple[tuple[str, bytes | None], ...]] = [
    (("content-type", b"text/plain"),),
    (("content-type", b"application/json"), ("content-type", b"application/xml")),
]
SPOILT: list[Callable[[dict[str, Any]], bytes | None]] = [
    lambda _: None,
    lambda _: b"",
    lambda _: b"\0\0\0\0\7",
    lambda _: b"{",
    lambda call: json.dumps(call).encode()[:-1],
    lambda call: json.dumps(call).encode("utf-16"),
    lambda call: b"\xef\xbb\xbf" + json.dumps(call).encode(),
    lambda _: b"[]",
    lambda call: json.dumps(call | {"status": "ended"}).encode(),
    lambda call: json.dumps(call | {"from": "2125550123"}).encode(),
    lambda call: json.dumps(call | {"to": None}).encode(),
    lambda call: json.dumps(call | {"duration": 1.5}).encode(),
    lambda call: json.dumps(call | {"duration": -1}).encode(),
    lambda call: json.dumps(call | {"start_time": "2026-11-25 03:35:13Z"}).encode(),
    lambda call: json.dumps(call | {"url": "not a url"}).encode(),
    lambda call: json.dumps(call | {"price_unit": "US"}).encode(),
    lambda call: json.dumps({name: call[name] for name in call if name != "direction"}).encode(),
]
