"""One partition of the calls topic: the whole message path, from a record to its outputs.

Pure: the log in, rows and records out. The wall clock is an argument, and only `too-early` and the idle clock use it
(semantics, section 4); everything else follows from the log alone, however it is cut into batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from streams.calls.anomalies import NO_HISTORY, TIMED_OUT
from streams.calls.closed import WINDOW_ROW, Closed, ClosedCalls
from streams.calls.counted import UNKNOWN_COUNTRY, as_counted, country_of, mark
from streams.calls.deadlines import Deadlines
from streams.calls.ledger import READABLE, STATE_VERSION, Ledger, Tally, decode_ledger, encode_ledger
from streams.calls.lifecycle import CHANGED, apply, begin
from streams.calls.revision import Facts, facts, record
from streams.calls.state import (
    TERMINAL,
    CallState,
    decode_state,
    encode_state,
    is_open,
    share_strings,
)
from streams.calls.stored import StoredCalls
from streams.calls.windows import WindowKey, Windows
from streams.codecs import (
    Call,
    CallDecoder,
    Rejected,
    Source,
    dead_headers,
    encode_completed,
    without_value,
)
from streams.records import NOW, LeftOut, Output, Record, Row, Rows

_JSON: Final[list[tuple[str, bytes | None]]] = [("content-type", b"application/json")]
_PUBLISHED: Final = 4096
_STATE_BYTES: Final = 500  # the row of a call that has changed
_PIECE: Final = 10_000  # calls that are prepared at a time
_DUE_AT_ONCE: Final = 1_000  # calls that one step closes by their timeout: some 20 ms
_PAST_AT_ONCE: Final = 20_000  # calls that one checkpoint forgets
_FULL: Final = 8 << 20  # bytes of values after which a step ends
_SPANS: Final = 512  # spans in a timeout or a retention


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide what is published; durations in milliseconds."""

    topic: str = "telefonie.calls"
    call_timeout: int = 6 * 3_600_000
    call_retention: int = 24 * 3_600_000
    max_clock_skew: int = 5 * 60_000
    kpi_window: int = 60_000
    decoder: CallDecoder = field(default_factory=CallDecoder)


class Checkpoint(NamedTuple):
    """What one checkpoint writes: records for the output topics, changelog rows, and the ledger at that point."""

    #: By topic: `completed`, `kpis`, `dead`.
    outputs: dict[str, list[Output]]
    rows: list[Row]
    #: Rows for the store; none if the state is in memory.
    stored: list[Row]
    #: The ledger, encoded.
    partition_state: bytes
    tally: Tally
    failures: list[tuple[Source, Exception]]
    #: Calls that could not be closed by their timeout, and why.
    stuck: list[tuple[str, Exception]]


class Revision(Struct, gc=False):
    """The next revision of a call, ready to be published; the partition does not contain any of it yet."""

    call_id: bytes
    state: CallState
    found: Facts
    #: The window in which the call is counted.
    window: WindowKey
    value: bytes
    timestamp: int
    #: If the call had closed before: its state then, what was published, and how that was counted.
    before: tuple[CallState, Facts, Facts] | None = None


class CallsPartition:
    """Everything that one input partition owns: its calls, their deadlines, KPI windows, and stream time."""

    def __init__(self, rules: Rules, number: int, store: Rows | None = None) -> None:
        """`store` is for closed calls, with what it has kept of this partition; without one, they are in memory."""
        self.rules, self.number = rules, number
        #: By id.
        self.open: dict[bytes, CallState] = {}
        self.closed: Closed = ClosedCalls(rules.call_retention // _SPANS)
        #: Changed since the last checkpoint; None means forgotten. Takes precedence over the two above.
        self.changed: dict[bytes, CallState | None] = {}
        self.deadlines = Deadlines(rules.call_timeout // _SPANS)
        #: Calls published recently: most amendments arrive soon.
        self.published: dict[bytes, Facts] = {}
        self.windows = Windows(rules.kpi_window, rules.call_retention, number)
        self.ledger = Ledger(widths=self.windows.widths, call_retention=rules.call_retention)
        self.tally = Tally()
        # What the next checkpoint publishes.
        self.completed: list[Output] = []
        self.dead: list[Output] = []
        #: Records on which the code itself raised: their place and the exception, for the log.
        self.failures: list[tuple[Source, Exception]] = []
        self.stuck: list[tuple[str, Exception]] = []
        #: Something that fell due when time moved on is not done yet.
        self._is_behind = False
        #: The last checkpoint has not forgotten everything that is past.
        self._is_forgetting = False
        #: Size of the values to be published.
        self._bytes = 0
        self._restored: dict[bytes, bytes] = {}
        if store is not None:
            stored = StoredCalls(store)
            self.closed, self._restored = stored, dict(stored.kept())

    # -- the message path

    def process(self, records: Sequence[Record], wall: int) -> int:
        """Apply records in log order; `wall` is the wall clock (epoch ms) when they were read.

        For each record: if it is too early, nothing moves; otherwise stream time moves, what is due is closed, the
        value is decoded, and the call is begun, moved, or amended. The next checkpoint publishes the results.

        Returns how many records have been applied. These are fewer than given if much fell due or is to be published:
        pass the rest again. An exception on a record is raised before anything has changed, and makes it a dead letter.
        """
        ledger, tally, deadlines = self.ledger, self.tally, self.deadlines
        decode, latest = self.rules.decoder.decode, wall + self.rules.max_clock_skew
        opened, changed, events = self.open, self.changed, tally.events
        now, before = ledger.stream_time, ledger.read
        self._is_behind = self._is_behind and deadlines.next < now
        left, full = _DUE_AT_ONCE, self._bytes + _FULL
        for item in records:
            offset, ts, key, value, headers = item
            if ts > latest:
                ledger.read += 1
                self._reject(_too_early(), item)
                continue
            if ts > now:
                now = ledger.stream_time = ts
            elif ts < 0:
                ts = now = ledger.stream_time = max(now, 0)
            if deadlines.next < now and not (left := self._close_due(now, left)):
                break  # before the record, which comes again
            ledger.read += 1
            try:
                event = decode(value, headers)
                call_id = event.id.encode()
                state = opened.get(call_id)
                if state is not None and event.status not in TERMINAL:
                    effect = apply(state, event, ts, offset)
                    changed[call_id], turn = state, None
                else:
                    turn = self._turn(call_id, state, event, ts, offset)
                    effect = turn[1]
            except Rejected as rejected:
                self._reject(rejected, item)
            except OSError:  # the store is at fault, not the record
                raise
            except Exception as error:  # a bug: the record is set aside, and the partition goes on
                self._fail(error, item)
            else:
                if turn is not None:
                    self._take(call_id, turn, ts)
                if effect != CHANGED:
                    tally.unchanged["out-of-order" if effect else "duplicate"] += 1
                ledger.applied += 1
                events[event.direction][event.status] += 1
                if key != call_id:
                    tally.key_mismatches += 1
                if turn is None:
                    continue
            if self._bytes > full:
                break
        return ledger.read - before

    def _turn(
        self, call_id: bytes, state: CallState | None, event: Call, ts: int, offset: int
    ) -> tuple[CallState, int, Revision | None]:
        """Handle an event that begins a call, closes it, or comes after its end: everything but the common case.

        Returns the call after it, what the event did, and the revision to publish, if any. Changes nothing.
        """
        before = state or self._closed(call_id)
        if before is not None:
            after = replace(before)
            effect = apply(after, event, ts, offset)
        elif ts < self.ledger.stream_time - self.rules.call_retention:
            raise _too_late()
        else:
            after, effect = begin(event, ts, offset), CHANGED
            if event.status in TERMINAL:
                after.history |= NO_HISTORY
        if before is not None and before.closed_at is not None:
            revision = self._revision(call_id, after, ts, before) if effect & CHANGED else None
        elif event.status in TERMINAL:
            after.closed_at = max(ts, self.ledger.stream_time - self.rules.call_retention)
            revision = self._revision(call_id, after, ts)
        else:
            revision = None
        return after, effect, revision

    def _closed(self, call_id: bytes) -> CallState | None:
        """The state of a closed call, if it is still remembered."""
        state = self.changed.get(call_id) or self.closed.get(call_id)
        if state is not None and state.closed_at is not None and self._is_past(state.closed_at):
            self.closed.forget(call_id, state.closed_at)
            self.changed[call_id] = None
            return None
        return state

    def _revision(
        self, call_id: bytes, state: CallState, ts: int, before: CallState | None = None
    ) -> Revision:
        """The next revision of a call in `state`; `before` is its previous state if it had closed already."""
        assert state.closed_at is not None, "only a closed call has a record"
        state.revision += 1
        text = call_id.decode()
        found = facts(text, state)
        if before is None:
            country, former = found.to_country or UNKNOWN_COUNTRY, None
        else:
            old = self.published.get(call_id) or facts(text, before)
            country, former = country_of(before, old), (before, old, as_counted(before, old))
        mark(state, country, found)
        window = self.windows.key(state.closed_at, state.direction, country)
        value = encode_completed(record(text, state, found, self.source(state.offset)))
        return Revision(call_id, state, found, window, value, ts, former)

    def _take(self, call_id: bytes, turn: tuple[CallState, int, Revision | None], ts: int) -> None:
        """Put the results of `_turn` into the partition."""
        after, _, revision = turn
        if revision is not None:
            self._publish(revision)
        else:
            self.changed[call_id] = after
            if after.closed_at is None:
                self.open[call_id] = after
                self.deadlines.add(ts + self.rules.call_timeout, call_id)
        self.ledger.opened += after.events == 1

    def _publish(self, revision: Revision) -> None:
        """Put a revision into the partition."""
        call_id, state, found, window = revision.call_id, revision.state, revision.found, revision.window
        value, ts, former = revision.value, revision.timestamp, revision.before
        changed, published = self.changed, self.published
        if former is None:
            self.windows.add(window, state, found)
            self.open.pop(call_id, None)
            changed.pop(call_id, None)  # so that it and all of `closed` share one key object
            self.closed.retain(call_id, state.closed_at or 0)
            self.ledger.close(state)
            self.tally.closed(state, found)
        else:
            before, was_found, was_counted = former
            self.windows.amend(window, before, was_counted, state, found)
            self.ledger.amend(before, state)
            self.tally.amended(was_found, state, found)
        changed[call_id] = state
        self.completed.append((call_id, value, ts, _JSON))
        self._bytes += len(value)
        if len(published) >= _PUBLISHED:
            published.clear()
        published[call_id] = found

    def _fail(self, error: Exception, item: Record) -> None:
        """Set aside a record on which the code has raised; it is named in the log."""
        self.failures.append((self.source(item[0]), error))
        self._reject(Rejected("failed", f"the processor raised {type(error).__name__}"), item)

    def _reject(self, rejected: Rejected, item: Record) -> None:
        """Send it to the dead letters unchanged, with the reason."""
        key, value, _, headers = letter = self.letter(rejected, item)
        self.dead.append(letter)
        self._bytes += len(value or b"") + len(key or b"") + sum(len(text or b"") for _, text in headers)
        self.ledger.rejected[rejected.reason] += 1
        self.tally.rejected[rejected.reason] += 1

    def letter(self, rejected: Rejected, item: Record) -> Output:
        """The dead letter of a record."""
        offset, ts, key, value, headers = item
        at = self.source(offset)
        said = dead_headers(headers, rejected, at.topic, at.partition, at.offset, ts)
        if isinstance(value, LeftOut):
            return without_value(key, NOW, said, value.size)
        return key, value, NOW, said

    def source(self, offset: int) -> Source:
        """The place of the record that was processed under this offset."""
        return Source(self.rules.topic, self.number, offset)

    def source_of(self, record: Record) -> Source:
        """The place of a record that may be given to `process`."""
        return self.source(record[0])

    # -- time

    def _due(self, call_id: bytes) -> int | None:
        state = self.open.get(call_id)
        return None if state is None else state.last + self.rules.call_timeout

    def _close_due(self, now: int, most: int) -> int:
        """Close the open calls whose timeout stream time has passed, in the order in which they fell due.

        Closes at most `most` of them, and returns how many more it could have closed; if that is 0, more may be due. A
        call on which the code raises is set aside: it stays open, and blocks nothing.
        """
        while most:
            due = self.deadlines.pop(now, self._due)
            if due is None:
                self._is_behind = False
                return most
            most -= 1
            moment, call_id = due
            try:
                state = replace(self.open[call_id])
                state.closed_at, state.timed_out = moment, True
                state.history |= TIMED_OUT
                revision = self._revision(call_id, state, moment)
            except OSError:
                raise
            except Exception as error:
                self.stuck.append((call_id.decode(), error))
                self.tally.timeouts_failed += 1
            else:
                self._publish(revision)
        self._is_behind = True
        return 0

    def advance(self, wall: int) -> bool:
        """The idle clock: stream time advances with the wall clock (epoch ms), never back; False if it does not move.

        A partition that never had a record has no time to advance: its first record may be old.

        What falls due is closed by the next step, which is `settle` or a record, so that the new stream time can be
        committed first, and a step that is repeated after a crash finds the same time.
        """
        if not 0 <= self.ledger.stream_time < wall:
            return False
        self.ledger.stream_time, self._is_behind = wall, True
        return True

    def settle(self) -> bool:
        """Close what is due at the current stream time, without a record; True if more is due."""
        now = self.ledger.stream_time
        return self.deadlines.next < now and not self._close_due(now, _DUE_AT_ONCE)

    def _is_past(self, closed_at: int) -> bool:
        return closed_at + self.rules.call_retention < self.ledger.stream_time

    # -- the checkpoint

    @property
    def pending(self) -> int:
        """How many records the next checkpoint writes, for back-pressure."""
        return len(self.completed) + len(self.dead) + len(self.changed) + self._is_forgetting

    @property
    def pending_bytes(self) -> int:
        """Roughly how many bytes of memory wait for the next checkpoint."""
        return self._bytes + _STATE_BYTES * len(self.changed)

    def checkpoint(self) -> Checkpoint:
        """Take everything that has changed since the last checkpoint, as one consistent point of the log."""
        now = self.ledger.settled = self._settled()
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
        rows += self._forget(now - self.rules.call_retention, _PAST_AT_ONCE)
        rows += [(WINDOW_ROW + msgspec.msgpack.encode(key), value) for key, value in self.windows.rows(now)]
        outputs = {"completed": self.completed, "kpis": kpis, "dead": self.dead}
        stored = self.closed.stored(rows)
        self.ledger.windows_end = self.windows.end
        ledger = encode_ledger(self.ledger)
        checkpoint = Checkpoint(outputs, rows, stored, ledger, self.tally, self.failures, self.stuck)
        self.completed, self.dead, self.failures, self.stuck, self._bytes = [], [], [], [], 0
        self.changed, self.tally = {}, Tally()
        self.deadlines.prune(len(self.open), self._due)
        return checkpoint

    def _settled(self) -> int:
        """The time up to which everything that fell due is done: what the next step closes still counts in its
        window."""
        now = self.ledger.stream_time
        due = self.deadlines.first(now, self._due) if self._is_behind else None
        self._is_behind = due is not None
        return now if due is None else due

    def _forget(self, horizon: int, most: int) -> Iterator[Row]:
        """Forget what closed before a moment; a call that is looked up earlier is judged to the millisecond."""
        found = 0
        for call_id, closed_at in self.closed.past(horizon, most):
            found += 1
            self.closed.forget(call_id, closed_at)
            yield call_id, None
        self._is_forgetting = found == most

    # -- looking in

    def find(self, call_id: str) -> CallState | None:
        """The state of a call that is open or still remembered."""
        key = call_id.encode()
        return self.open.get(key) or self.changed.get(key) or self.closed.get(key)

    def open_by_status(self) -> Counter[str]:
        """How many calls are open, by status."""
        return Counter(state.status for state in self.open.values())

    def __len__(self) -> int:
        """How many calls are remembered, without some that closed since the last checkpoint."""
        return len(self.open) + len(self.closed)

    # -- recovery

    def restore(self, rows: Iterable[Row]) -> list[Row]:
        """Take over changelog rows, in log order, after those that the store had; `ready` completes this.

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
        """Finish restoring; `ledger` is that of the last checkpoint, None if there was none.

        Works in pieces. Raises ValueError for state of an unknown version.
        """
        if ledger is not None:
            self.ledger = decode_ledger(ledger)
            if self.ledger.version not in READABLE:
                known = ", ".join(map(str, sorted(READABLE)))
                raise ValueError(f"it is of version {self.ledger.version}, this release knows {known}")
        self.ledger.version = STATE_VERSION
        opened: list[tuple[bytes, CallState]] = []
        windows: dict[WindowKey, bytes] = {}
        while self._restored:
            key, value = self._restored.popitem()
            if key.startswith(WINDOW_ROW):
                windows[msgspec.msgpack.decode(key[len(WINDOW_ROW) :], type=WindowKey)] = value
            else:
                opened.append((key, share_strings(decode_state(value))))
            if (len(opened) + len(windows)) % _PIECE == 0:
                yield
        settled = self.ledger.stream_time if self.ledger.settled is None else self.ledger.settled
        self._is_behind = settled != self.ledger.stream_time
        self.windows.restore(windows, self.ledger.widths, self.ledger.windows_end, settled)
        self.ledger.widths = self.windows.widths
        opened.sort(key=lambda item: item[1].first_seen)
        for number, (key, state) in enumerate(opened):
            if number % _PIECE == 0:
                yield
            self.open[key] = state
            self.deadlines.add(state.last + self.rules.call_timeout, key)
        yield from self._forget_what_was_past(settled)

    def _forget_what_was_past(self, settled: int) -> Iterator[None]:
        """What was past by a retention that was shorter before is forgotten, even if no checkpoint got to it."""
        former, self.ledger.call_retention = self.ledger.call_retention, self.rules.call_retention
        if not 0 < former < self.rules.call_retention:
            return
        for number, (call_id, closed_at) in enumerate(self.closed.all()):
            if number % _PIECE == 0:
                yield
            if closed_at < settled - former:
                self.closed.forget(call_id, closed_at)
                self.changed[call_id] = None


def _too_early() -> Rejected:
    return Rejected(
        "too-early", "the timestamp is further ahead of the wall clock than TELEFONIE_MAX_CLOCK_SKEW allows"
    )


def _too_late() -> Rejected:
    return Rejected(
        "too-late",
        "an unknown call, and the event is older than TELEFONIE_CALL_RETENTION: it may have been forgotten",
    )
