"""One partition of the calls topic: the whole message path, from a record to what it publishes.

Pure: the log in, rows and records out. The wall clock is an argument, and only `too-early` and the idle clock
look at it (semantics, section 4); everything else follows from the log alone, however it is cut into batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from streams.calls.anomalies import NO_HISTORY, TIMED_OUT
from streams.calls.closed import WINDOW_ROW, Closed, ClosedCalls, Row, Store, StoredCalls
from streams.calls.completed import Facts, facts, record
from streams.calls.deadlines import Deadlines
from streams.calls.ledger import READABLE, STATE_VERSION, Ledger, Tally, decode_ledger, encode_ledger
from streams.calls.lifecycle import CHANGED, apply, begin
from streams.calls.state import (
    TERMINAL,
    CallState,
    decode_state,
    encode_state,
    is_open,
    share_strings,
)
from streams.calls.windows import WindowKey, Windows
from streams.codecs import Call, CallDecoder, Headers, Rejected, Source, dead_headers, encode_completed

Record = tuple[int, int, bytes | None, bytes | None, Headers]
"""Offset, timestamp (epoch ms; negative: none), key, value, headers."""

Output = tuple[bytes | None, bytes | None, int, list[tuple[str, bytes | None]]]
"""Key, value, timestamp, headers of a record to publish."""

_JSON: Final[list[tuple[str, bytes | None]]] = [("content-type", b"application/json")]
_PUBLISHED: Final = 4096
_STATE_BYTES: Final = 500  # of a call that has changed: its row
_PIECE: Final = 10_000  # calls that are made ready at a time
_SPANS: Final = 512  # of a timeout or a retention: how coarsely calls wait for it


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide what is published; durations in milliseconds."""

    topic: str = "telefonie.calls"
    call_timeout: int = 6 * 3_600_000
    call_retention: int = 24 * 3_600_000
    max_clock_skew: int = 5 * 60_000
    kpi_window: int = 60_000
    decoder: CallDecoder = field(default_factory=CallDecoder)


class Cut(NamedTuple):
    """What one cut writes: records of the output topics, changelog rows, and the ledger of that point."""

    #: By topic: `completed`, `kpis`, `dead`.
    outputs: dict[str, list[Output]]
    rows: list[Row]
    #: Rows for the store; none when the state is in memory.
    stored: list[Row]
    #: The ledger, encoded.
    header: bytes
    tally: Tally
    failures: list[tuple[Source, Exception]]


class CallsPartition:
    """Everything that one input partition owns: its calls, their deadlines, KPI windows, and stream time."""

    def __init__(self, rules: Rules, number: int, store: Store | None = None) -> None:
        """`store` is for closed calls, with whatever it has kept of this partition; without one they are in memory."""
        self.rules, self.number = rules, number
        #: By id.
        self.open: dict[bytes, CallState] = {}
        self.closed: Closed = ClosedCalls(rules.call_retention // _SPANS)
        #: Touched since the last cut; None was forgotten. Counts before the two above.
        self.changed: dict[bytes, CallState | None] = {}
        # Not by a method: a cycle, and what has been restored is frozen, so that no collector would find it.
        due_of = partial(_due, self.open, rules.call_timeout)
        self.deadlines = Deadlines(rules.call_timeout // _SPANS, due_of)
        #: Of calls published lately: most amendments come soon.
        self.published: dict[bytes, Facts] = {}
        self.windows = Windows(rules.kpi_window, rules.call_retention, number)
        self.ledger = Ledger()
        self.tally = Tally()
        # What the next cut publishes.
        self.completed: list[Output] = []
        self.dead: list[Output] = []
        #: Of records on which the code itself raised: where they lie, and the exception, for the log.
        self.failures: list[tuple[Source, Exception]] = []
        #: Of the values that are to be published.
        self._bytes = 0
        self._restored: dict[bytes, bytes] = {}
        if store is not None:
            stored = StoredCalls(store)
            self.closed, self._restored = stored, dict(stored.kept())

    # -- the message path

    def process(self, records: Sequence[Record], wall: int) -> int:
        """Apply records in log order, `wall` being the wall clock (epoch ms) when they are read.

        Of each: is it too early (then it moves nothing); stream time moves; what is due is closed; the value
        is decoded; the call is begun, moved, or amended; what that says is published at the next cut.
        Returns how many records have been applied.
        """
        ledger, tally, deadlines = self.ledger, self.tally, self.deadlines
        decode, latest = self.rules.decoder.decode, wall + self.rules.max_clock_skew
        opened, events = self.open, self.tally.events
        now = ledger.stream_time
        for item in records:
            offset, ts, key, value, headers = item
            ledger.read += 1
            if ts > latest:
                self._reject(_too_early(), item)
                continue
            if ts > now:
                now = ledger.stream_time = ts
            elif ts < 0:
                ts = now = ledger.stream_time = max(now, 0)
            if deadlines.next < now:
                self._close_due(now)
            try:
                event = decode(value, headers)
                call_id = event.id.encode()
                state = opened.get(call_id)
                if state is not None and event.status not in TERMINAL:
                    if (effect := apply(state, event, ts, offset)) != CHANGED:
                        self._count_unchanged(effect)
                    self.changed[call_id] = state
                else:
                    self._turn(call_id, state, event, ts, offset)
            except Rejected as rejected:
                self._reject(rejected, item)
                continue
            except OSError:  # the store, not the record
                raise
            except Exception as error:  # a bug: the record is set aside, the partition goes on
                self.failures.append((self.source(offset), error))
                self._reject(Rejected("failed", f"the processor raised {type(error).__name__}"), item)
                continue
            ledger.applied += 1
            events[event.direction][event.status] += 1
            if key != call_id:
                tally.key_mismatches += 1
        return len(records)

    def _turn(self, call_id: bytes, state: CallState | None, event: Call, ts: int, offset: int) -> None:
        """An event that begins a call, closes it, or comes after its end: all but the common case.

        It works on a copy, which replaces the state when nothing has raised on the way.
        """
        if state is None and (closed := self._closed(call_id)) is not None:
            self._amend(call_id, closed, event, ts, offset)
        elif state is not None:
            state = replace(state)
            if (effect := apply(state, event, ts, offset)) != CHANGED:
                self._count_unchanged(effect)
            self._close(call_id, state, ts)
        elif ts < self.ledger.stream_time - self.rules.call_retention:
            raise _too_late()
        else:
            state = begin(event, ts, offset)
            if event.status in TERMINAL:
                state.history |= NO_HISTORY
                self._close(call_id, state, ts)
            else:
                self.open[call_id] = self.changed[call_id] = state
                self.deadlines.add(ts + self.rules.call_timeout, call_id)
            self.ledger.opened += 1

    def _closed(self, call_id: bytes) -> CallState | None:
        """The state of a closed call, if it is still remembered."""
        state = self.changed.get(call_id) or self.closed.get(call_id)
        if state is not None and state.closed_at is not None and self._is_past(state.closed_at):
            self.closed.forget(call_id, state.closed_at)
            self.changed[call_id] = None
            return None
        return state

    def _close(self, call_id: bytes, state: CallState, ts: int) -> None:
        """The first terminal event has been applied: the call closes, with its first revision."""
        state.closed_at = max(ts, self.ledger.stream_time - self.rules.call_retention)
        found = self._publish(call_id, state, ts)
        self._keep_closed(call_id, state, found)

    def _amend(self, call_id: bytes, before: CallState, event: Call, ts: int, offset: int) -> None:
        """An event after the end: the next revision, if it changes what the record says."""
        state = replace(before)
        effect = apply(state, event, ts, offset)
        if effect & CHANGED:
            old = self.published.get(call_id) or facts(call_id.decode(), before)
            found = self._publish(call_id, state, ts)
            self.windows.amend(before, old, state, found)
            self.ledger.amend(before, state)
            self.tally.amended(old, state, found)
            self._remember(call_id, found)
        if effect != CHANGED:
            self._count_unchanged(effect)
        self.changed[call_id] = state

    def _publish(self, call_id: bytes, state: CallState, ts: int) -> Facts:
        """Write the next revision of a closed call."""
        state.revision += 1
        text = call_id.decode()
        found = facts(text, state)
        value = encode_completed(record(text, state, found, self.source(state.offset)))
        self.completed.append((call_id, value, ts, _JSON))
        self._bytes += len(value)
        return found

    def _keep_closed(self, call_id: bytes, state: CallState, found: Facts) -> None:
        assert state.closed_at is not None, "the call has just been closed"
        self._remember(call_id, found)
        self.open.pop(call_id, None)
        self.changed.pop(call_id, None)  # so that the one key object lies in it, and in all of `closed`
        self.changed[call_id] = state
        self.closed.retain(call_id, state.closed_at)
        self.windows.add(state, found)
        self.ledger.close(state)
        self.tally.closed(state, found)

    def _remember(self, call_id: bytes, found: Facts) -> None:
        if len(self.published) >= _PUBLISHED:
            self.published.clear()
        self.published[call_id] = found

    def _count_unchanged(self, effect: int) -> None:
        self.tally.unchanged["out-of-order" if effect else "duplicate"] += 1

    def _reject(self, rejected: Rejected, item: Record) -> None:
        """To the dead letters, as it came, with the reason."""
        offset, ts, key, value, headers = item
        at = self.source(offset)
        said = dead_headers(headers, rejected, at.topic, at.partition, at.offset, ts)
        self.dead.append((key, value, ts, said))
        self._bytes += len(value or b"")
        self.ledger.rejected[rejected.reason] += 1
        self.tally.rejected[rejected.reason] += 1

    def source(self, offset: int) -> Source:
        """Where a record lies that was processed under this offset."""
        return Source(self.rules.topic, self.number, offset)

    def source_of(self, record: Record) -> Source:
        """Where a record lies that may be given to `process`."""
        return self.source(record[0])

    # -- time

    def _close_due(self, now: int) -> None:
        """Close the open calls whose timeout stream time has passed, in the order in which they fell due."""
        while (due := self.deadlines.pop(now)) is not None:
            moment, call_id = due
            state = replace(self.open[call_id])
            state.closed_at, state.timed_out = moment, True
            state.history |= TIMED_OUT
            self._keep_closed(call_id, state, self._publish(call_id, state, moment))

    def advance(self, wall: int) -> bool:
        """The idle clock: stream time moves on with the wall clock (epoch ms), never back; False when it stays.

        A partition that never had a record has no time to move: whatever comes first may be old.

        What falls due by it is closed by the next step, be that `settle` or a record: so that the new stream
        time can be committed first, and a step that is repeated after a crash finds the same time.
        """
        if not 0 <= self.ledger.stream_time < wall:
            return False
        self.ledger.stream_time = wall
        return True

    def settle(self) -> bool:
        """Close what is due at the present stream time, without a record; True when more is due."""
        if self.deadlines.next < self.ledger.stream_time:
            self._close_due(self.ledger.stream_time)
        return False

    def _is_past(self, closed_at: int) -> bool:
        return closed_at + self.rules.call_retention < self.ledger.stream_time

    # -- the cut

    @property
    def pending(self) -> int:
        """How many records the next cut writes: the measure of back-pressure."""
        return len(self.completed) + len(self.dead) + len(self.changed)

    @property
    def pending_bytes(self) -> int:
        """About how many bytes of memory wait for the next cut."""
        return self._bytes + _STATE_BYTES * len(self.changed)

    def cut(self) -> Cut:
        """Take everything that has changed since the last cut, as one consistent point of the log."""
        now = self.ledger.stream_time
        kpis: list[Output] = [(key, value, ts, _JSON) for key, value, ts in self.windows.published(now)]
        rows: list[Row] = []
        for call_id, state in self.changed.items():
            if state is None:
                rows.append((call_id, None))
                continue
            packed = encode_state(state)
            rows.append((call_id, packed))
            if state.closed_at is not None:
                self.closed.put(call_id, packed)
        rows += self._forget_past()
        rows += [(WINDOW_ROW + msgspec.msgpack.encode(key), value) for key, value in self.windows.rows(now)]
        outputs = {"completed": self.completed, "kpis": kpis, "dead": self.dead}
        stored = self.closed.stored(rows)
        cut = Cut(outputs, rows, stored, encode_ledger(self.ledger), self.tally, self.failures)
        self.completed, self.dead, self.failures, self._bytes = [], [], [], 0
        self.changed, self.tally = {}, Tally()
        self.deadlines.prune(len(self.open))
        return cut

    def _forget_past(self) -> Iterator[Row]:
        """Forget what closed too long ago; a call that is asked for before is judged to the millisecond."""
        for call_id, closed_at in self.closed.past(self.ledger.stream_time - self.rules.call_retention):
            self.closed.forget(call_id, closed_at)
            yield call_id, None

    # -- looking in

    def find(self, call_id: str) -> CallState | None:
        """The state of a call that is open or still remembered."""
        key = call_id.encode()
        return self.open.get(key) or self.changed.get(key) or self.closed.get(key)

    def open_by_status(self) -> Counter[str]:
        """How many calls are open, by status."""
        return Counter(state.status for state in self.open.values())

    def __len__(self) -> int:
        """Calls that are remembered; some that closed since the last cut are missing."""
        return len(self.open) + len(self.closed)

    # -- recovery

    def restore(self, rows: Iterable[Row]) -> list[Row]:
        """Take over rows of the changelog, in log order, after those that the store had; `ready` completes it.

        Returns rows for the store, which are to be written before the next call.
        """
        restored, latest, closed = self._restored, dict(rows), list[Row]()
        for key, value in latest.items():
            if value is not None and (key.startswith(WINDOW_ROW) or is_open(value)):
                restored[key] = value
                closed.append((key, None))
            else:
                restored.pop(key, None)
                closed.append((key, value))
        self.closed.restore(closed)
        return self.closed.stored(latest.items())

    def ready(self, ledger: bytes | None) -> Iterator[None]:
        """Everything is restored; `ledger` is that of the last cut, None when there was none. Works in pieces.

        Raises ValueError for state of a version that is not known here.
        """
        if ledger is not None:
            self.ledger = decode_ledger(ledger)
            if self.ledger.version not in READABLE:
                known = ", ".join(map(str, sorted(READABLE)))
                raise ValueError(f"it is of version {self.ledger.version}, this release knows {known}")
        self.ledger.version = STATE_VERSION
        opened: list[tuple[bytes, CallState]] = []
        while self._restored:
            key, value = self._restored.popitem()
            if key.startswith(WINDOW_ROW):
                window = msgspec.msgpack.decode(key[len(WINDOW_ROW) :], type=WindowKey)
                self.windows.restore(window, value, self.ledger.stream_time)
            else:
                opened.append((key, share_strings(decode_state(value))))
            if len(opened) % _PIECE == 1:
                yield
        opened.sort(key=lambda item: item[1].first_seen)
        for number, (key, state) in enumerate(opened):
            if number % _PIECE == 0:
                yield
            self.open[key] = state
            self.deadlines.add(state.last + self.rules.call_timeout, key)


def _due(opened: dict[bytes, CallState], call_timeout: int, call_id: bytes) -> int | None:
    state = opened.get(call_id)
    return None if state is None else state.last + call_timeout


def _too_early() -> Rejected:
    return Rejected(
        "too-early", "the timestamp is further ahead of the wall clock than TELEFONIE_MAX_CLOCK_SKEW allows"
    )


def _too_late() -> Rejected:
    return Rejected(
        "too-late",
        "an unknown call, and the event is older than TELEFONIE_CALL_RETENTION: it may have been forgotten",
    )
