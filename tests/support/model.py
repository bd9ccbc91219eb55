"""What the processor must say about one partition of calls: slow, obvious, and sharing no code with it.

The rules are those of the contract (reading a record; the life of a call; closing, amending, forgetting;
CompletedCall; KPI windows). A log goes in one `Step` at a time; everything that comes out is kept in lists.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import phonenumbers
from support import rfc3339

SCHEMA = json.loads((Path(__file__).parents[2] / "streams/codecs/call.schema.json").read_text())
VALIDATOR = jsonschema_rs.Draft7Validator(SCHEMA, validate_formats=True)
OPTIONAL = [name for name in SCHEMA["properties"] if name not in SCHEMA["required"]]
RANK = {"queued": 0, "ringing": 1, "in-progress": 2} | dict.fromkeys(
    ["completed", "failed", "busy", "no-answer", "canceled"], 3
)
# Of ISO 4217 only what the generated logs use; see support.calls.
ACTIVE_CURRENCIES = {"USD", "EUR", "GBP", "JPY"}


@dataclass(frozen=True)
class Settings:
    """The settings that change what is said; times in milliseconds."""

    call_timeout: int = 6 * 3_600_000
    call_retention: int = 24 * 3_600_000
    max_clock_skew: int = 5 * 60_000
    kpi_window: int = 60_000
    nulls: str = "reject"
    topic: str = "telefonie.calls"
    partition: int = 0


@dataclass(frozen=True)
class Record:
    """One record of the log. Without a `clock` (the wall clock when it is read) nothing is too early."""

    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    clock: int | None = None


@dataclass(frozen=True)
class Idle:
    """The idle clock moves stream time on to `until`."""

    until: int


Step = Record | Idle


@dataclass(frozen=True)
class Completed:
    """One published CompletedCall."""

    key: str
    value: dict[str, Any]
    timestamp: int


@dataclass(frozen=True)
class DeadLetter:
    """One dead letter: the record with the headers added to it, save `dead-message` and `dead-path`.

    Of several faults any one may be named: `paths` are what may stand in `dead-path`, None is no header.
    """

    record: Record
    headers: dict[str, str]
    paths: frozenset[str | None]


@dataclass(eq=False)
class Call:
    """One call, open or closed, and what it was last published as."""

    id: str
    status: str
    identity: dict[str, str]
    fields: dict[str, Any] = field(default_factory=dict)
    timeline: dict[str, int] = field(default_factory=dict)
    history: set[str] = field(default_factory=set)
    last_event: int = 0
    events: int = 0
    offset: int = -1
    closed_at: int | None = None
    closed_by: str | None = None
    revision: int = 0
    published: dict[str, Any] | None = None


@dataclass(eq=False)
class Window:
    """The calls that closed in one KPI window, with the same direction and country."""

    start: int
    end: int
    direction: str
    country: str
    calls: list[Call] = field(default_factory=list)
    ended: bool = False


class Rejected(Exception):
    def __init__(self, reason: str, *paths: str | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.paths = frozenset(paths or [None])


class Partition:
    """The model. Feed it steps; then read `completed`, `dead`, `kpis`, `figures`, `rejected`, `calls`."""

    def __init__(self, settings: Settings = Settings()) -> None:
        self.settings = settings
        self.stream_time: int | None = None
        self.calls: dict[str, Call] = {}
        self.windows: dict[str, Window] = {}
        self.completed: list[Completed] = []
        self.dead: list[DeadLetter] = []
        self.kpis: dict[str, dict[str, Any]] = {}
        self.figures: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()

    @property
    def open(self) -> dict[str, Call]:
        """The calls that are open now."""
        return {name: call for name, call in self.calls.items() if call.closed_at is None}

    def run(self, steps: Iterable[Step]) -> "Partition":
        for step in steps:
            if isinstance(step, Idle):
                # A partition that never had a record has no stream time to move: old records may yet come.
                if self.stream_time is not None:
                    self.advance(step.until)
            else:
                self.read(step)
        return self

    def advance(self, until: int) -> None:
        """Move stream time, never back, and do what has fallen due."""
        self.stream_time = until if self.stream_time is None else max(self.stream_time, until)
        while due := self.due():
            due[0][-1]()

    def read(self, record: Record) -> None:
        """Read one record of the log."""
        self.figures["read"] += 1
        try:
            event_time = self.event_time(record)
            self.advance(event_time)
            event = decode(record, self.settings.nulls)
            self.apply(event, event_time, record)
        except Rejected as rejected:
            self.reject(record, rejected)
        else:
            self.figures["applied"] += 1

    def event_time(self, record: Record) -> int:
        if record.timestamp is None or record.timestamp < 0:
            return self.stream_time or 0
        if record.clock is not None and record.timestamp > record.clock + self.settings.max_clock_skew:
            raise Rejected("too-early")
        return record.timestamp

    def reject(self, record: Record, rejected: Rejected) -> None:
        self.rejected[rejected.reason] += 1
        headers = {
            "dead-reason": rejected.reason,
            "dead-topic": self.settings.topic,
            "dead-partition": str(self.settings.partition),
            "dead-offset": str(record.offset),
            "dead-timestamp": str(-1 if record.timestamp is None else max(-1, record.timestamp)),
        }
        self.dead.append(DeadLetter(record, headers, rejected.paths))

    # --- what falls due ---

    def due(self) -> list[tuple[Any, ...]]:
        """Everything that stream time makes due, sorted by (moment, call id); the last item does it."""
        now = self.stream_time
        assert now is not None
        due: list[tuple[Any, ...]] = []
        for call in self.calls.values():
            if call.closed_at is None:
                moment = call.last_event + self.settings.call_timeout
                due.append((moment, call.id, lambda call=call, at=moment: self.time_out(call, at)))
            else:
                moment = call.closed_at + self.settings.call_retention
                due.append((moment, call.id, lambda call=call: self.calls.pop(call.id)))
        due = [item for item in due if now > item[0]]
        for key, window in self.windows.items():
            if not window.ended and now >= window.end:
                due.append((window.end, "", key, lambda key=key: self.end_window(key)))
            elif now > window.end + self.settings.call_retention:
                moment = window.end + self.settings.call_retention
                due.append((moment, "", key, lambda key=key: self.windows.pop(key)))
        return sorted(due, key=lambda item: item[:-1])

    def time_out(self, call: Call, moment: int) -> None:
        call.history.add("timed-out")
        self.close(call, moment, "timeout")
        self.publish(call, moment)

    def end_window(self, key: str) -> None:
        self.windows[key].ended = True
        self.kpis[key] = self.kpi(self.windows[key])

    # --- the life of a call ---

    def apply(self, event: dict[str, Any], event_time: int, record: Record) -> None:
        assert self.stream_time is not None
        oldest = self.stream_time - self.settings.call_retention
        call = self.calls.get(event["id"])
        if call is None:
            if event_time < oldest:
                raise Rejected("too-late")
            call = self.begin(event)
        before = says(call)
        self.merge(call, event, event_time)
        call.events += 1
        call.offset = record.offset
        self.figures["key mismatch"] += record.key != event["id"].encode()
        stale = RANK[event["status"]] < RANK[call.status]
        self.figures["out-of-order"] += stale
        self.figures["duplicate"] += not stale and says(call) == before
        if RANK[call.status] == 3 and call.closed_by != "status":
            self.close(call, max(event_time, oldest), "status")
        if call.closed_at is not None and says(call) != before:
            self.publish(call, event_time)

    def begin(self, event: dict[str, Any]) -> Call:
        self.figures["opened"] += 1
        identity = {name: event[name] for name in ("direction", "from", "to")}
        call = self.calls[event["id"]] = Call(event["id"], event["status"], identity)
        if RANK[event["status"]] == 3:
            call.history.add("no-history")
        return call

    def merge(self, call: Call, event: dict[str, Any], event_time: int) -> None:
        status = event["status"]
        stale = RANK[status] < RANK[call.status]
        if stale:
            call.history.add("out-of-order")
        elif status != call.status and RANK[call.status] == 3:
            call.history.add("conflicting-status")
        if any(event[name] != value for name, value in call.identity.items()):
            call.history.add("identity-changed")
        if not stale:
            call.status = status
        for name in OPTIONAL:
            if name in event and not (stale and name in call.fields):
                call.fields[name] = event[name]
        call.timeline[status] = min(event_time, call.timeline.get(status, event_time))
        call.last_event = event_time if call.events == 0 else max(call.last_event, event_time)

    def close(self, call: Call, moment: int, by: str) -> None:
        call.closed_by = by
        if call.closed_at is not None:
            return
        call.closed_at = moment
        self.figures["closed"] += 1
        size = self.settings.kpi_window
        start = moment // size * size
        direction, to = call.identity["direction"], country(call.identity["to"]) or "ZZ"
        key = f"{rfc3339.from_ms(start)}/{direction}/{to}/{self.settings.partition}"
        window = self.windows.setdefault(key, Window(start, start + size, direction, to))
        window.calls.append(call)

    def publish(self, call: Call, timestamp: int) -> None:
        call.revision += 1
        source = {
            "topic": self.settings.topic,
            "partition": self.settings.partition,
            "offset": call.offset,
        }
        value = says(call) | {"revision": call.revision, "events": call.events, "source": source}
        call.published = value
        self.completed.append(Completed(call.id, value, timestamp))
        for key, window in self.windows.items():
            if call in window.calls and self.stream_time is not None and self.stream_time >= window.end:
                self.end_window(key)

    # --- KPI windows ---

    def kpi(self, window: Window) -> dict[str, Any]:
        records = [call.published for call in window.calls if call.published is not None]
        ended = Counter("timeout" if each["closed_by"] == "timeout" else each["status"] for each in records)
        return {
            "window_start": rfc3339.from_ms(window.start),
            "window_end": rfc3339.from_ms(window.end),
            "direction": window.direction,
            "country": window.country,
            "partition": self.settings.partition,
            "attempts": len(records),
            "completed": ended["completed"],
            "busy": ended["busy"],
            "no_answer": ended["no-answer"],
            "failed": ended["failed"],
            "canceled": ended["canceled"],
            "timed_out": ended["timeout"],
            "answered": sum(each["answered"] for each in records),
            "human": sum(each.get("answered_by") == "human" for each in records),
            "machine": sum(each.get("answered_by") == "machine" for each in records),
            "talk_seconds": total(each.get("talk_seconds", 0) for each in records),
            "ring_seconds": total(each.get("ring_seconds", 0) for each in records),
            "charges": charges(records),
            "uncharged": sum("price" in each and not is_charged(each) for each in records),
        }


# --- reading a record ---


def decode(record: Record, nulls: str) -> dict[str, Any]:
    """The document of the record; Rejected with the first reason that holds."""
    kind = content_type(record)
    if kind not in ("application/json", "application/msgpack"):
        raise Rejected("unsupported-content-type")
    value = record.value or b""
    if value[:1] == b"\0" and len(value) >= 5:
        value = value[5:]
    if not value:
        raise Rejected("empty")
    try:
        document = parse_json(value) if kind == "application/json" else msgspec.msgpack.decode(value)
        if depth(document) > 512:
            raise ValueError("nested too deeply")
    except (ValueError, RecursionError, msgspec.DecodeError):
        raise Rejected("malformed", None, "$") from None
    if nulls == "absent" and isinstance(document, dict):
        document = {k: v for k, v in document.items() if not (v is None and k in OPTIONAL)}
    if faults := {error_path(error) for error in VALIDATOR.iter_errors(document)}:
        raise Rejected("schema", *faults)
    texts = {name: document[name] for name in SCHEMA["properties"] if isinstance(document.get(name), str)}
    if large := [name for name, text in texts.items() if len(text.encode()) > 8192]:
        raise Rejected("too-large", *(f"$.{name}" for name in large))
    event = {name: document[name] for name in SCHEMA["properties"] if name in document}
    if "duration" in event:
        event["duration"] = int(event["duration"])
    for name in "start_time", "end_time":
        if name in event:
            event[name] = rfc3339.in_utc(event[name])
    return event


def content_type(record: Record) -> str:
    values = [value for name, value in record.headers if name == "content-type"]
    last = (values[-1] or b"").decode("utf-8", "replace") if values else ""
    return last.split(";")[0].strip().lower() or ("application/json" if not last.strip() else "")


def parse_json(value: bytes) -> Any:
    document = json.loads(value.decode("utf-8"), parse_constant=not_json)
    json.dumps(document, ensure_ascii=False).encode("utf-8")  # refuses lone surrogates
    return document


def depth(document: Any) -> int:
    """How deep arrays and objects are nested; 0 for a scalar."""
    found, level = 0, [document]
    while level := [each for each in level if isinstance(each, dict | list | tuple)]:
        found += 1
        level = [
            item
            for each in level
            for item in ([*each.keys(), *each.values()] if isinstance(each, dict) else each)
        ]
    return found


def not_json(constant: str) -> None:
    raise ValueError(constant)


def error_path(error: Any) -> str:
    return "$" + "".join(f".{name}" for name in error.instance_path)


# --- what a revision says ---


def says(call: Call) -> dict[str, Any]:
    """The record of the call, `revision`, `events` and `source` aside."""
    value: dict[str, Any] = {"id": call.id, "status": call.status} | call.identity | call.fields
    value["closed_by"] = call.closed_by
    value["closed_at"] = None if call.closed_at is None else rfc3339.from_ms(call.closed_at)
    value["timeline"] = {status: rfc3339.from_ms(moment) for status, moment in call.timeline.items()}
    value["answered"] = (
        "in-progress" in call.timeline or "start_time" in call.fields or call.status == "completed"
    )
    derived = {
        "from_country": country(call.identity["from"]),
        "to_country": country(call.identity["to"]),
        "ring_seconds": number(ring(call)),
        "talk_seconds": number(talk(call)),
        "anomalies": sorted(call.history | anomalies(call)) or None,
    }
    return value | {name: what for name, what in derived.items() if what is not None}


def ring(call: Call) -> Fraction | None:
    """Exact seconds of ringing, negative ones too."""
    if "ringing" not in call.timeline:
        return None
    if "start_time" in call.fields:
        end = rfc3339.seconds(call.fields["start_time"])
    elif "in-progress" in call.timeline:
        end = Fraction(call.timeline["in-progress"], 1000)
    elif RANK[call.status] == 3 and call.status != "completed":
        end = Fraction(call.timeline[call.status], 1000)
    else:
        return None
    return end - Fraction(call.timeline["ringing"], 1000)


def talk(call: Call) -> Fraction | None:
    """Exact seconds from answer to end, negative ones too."""
    if "start_time" not in call.fields or "end_time" not in call.fields:
        return None
    return rfc3339.seconds(call.fields["end_time"]) - rfc3339.seconds(call.fields["start_time"])


def number(seconds: Fraction | None) -> int | float | None:
    """Seconds as they are written: to the millisecond, half to even, whole ones as integers."""
    if seconds is None or seconds < 0:
        return None
    ms = round(seconds * 1000)
    return ms // 1000 if ms % 1000 == 0 else ms / 1000


def anomalies(call: Call) -> set[str]:
    """Those that come from what the record says now."""
    fields, talked = call.fields, talk(call)
    price, currency = fields.get("price"), fields.get("price_unit")
    found = {
        "missing-answer": call.status == "completed"
        and "in-progress" not in call.timeline
        and "start_time" not in fields,
        "duration-mismatch": talked is not None
        and "duration" in fields
        and abs(fields["duration"] - talked) > 1,
        "end-before-start": talked is not None and talked < 0,
        "price-invalid": price is not None and not is_price(price),
        "price-without-currency": price is not None and currency is None,
        "currency-unknown": currency is not None and currency not in ACTIVE_CURRENCIES,
        "id-not-uuid": not re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", call.id),
        "number-unknown": any(country(call.identity[side]) is None for side in ("from", "to")),
    }
    return {name for name, holds in found.items() if holds}


def is_price(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?", text) is not None


def is_charged(record: dict[str, Any]) -> bool:
    return is_price(record.get("price", "")) and record.get("price_unit") in ACTIVE_CURRENCIES


@cache
def country(number: str) -> str | None:
    try:
        region = phonenumbers.region_code_for_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return None
    return None if region == "001" else region


def total(numbers: Iterable[int | float]) -> int | float | None:
    return number(sum((Fraction(round(each * 1000), 1000) for each in numbers), Fraction(0)))


def charges(records: list[dict[str, Any]]) -> dict[str, str]:
    sums: dict[str, Fraction] = {}
    for each in records:
        if is_charged(each):
            currency = each["price_unit"]
            sums[currency] = sums.get(currency, Fraction(0)) - Fraction(each["price"])
    return {currency: decimal(amount) for currency, amount in sums.items()}


def decimal(amount: Fraction) -> str:
    """The shortest exact decimal of a fraction whose denominator divides a power of ten."""
    digits = next(digits for digits in range(10_000) if (amount * 10**digits).denominator == 1)
    text = str(abs(int(amount * 10**digits))).rjust(digits + 1, "0")
    whole, part = text[: len(text) - digits], text[len(text) - digits :]
    return ("-" if amount < 0 else "") + whole + ("." + part if part else "")
