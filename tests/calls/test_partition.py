"""The processor against the naive model, however the log is cut."""

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import msgspec
import pytest
from support import model
from support.calls import generate

from streams.calls import deadlines, state
from streams.calls import partition as module
from streams.calls.partition import CallsPartition, Rules
from streams.codecs import CallDecoder
from streams.records import NOW, LeftOut

_FAR = 1 << 60
_DAY = 86_400_000


def rules_of(chosen: model.Settings) -> Rules:
    return Rules(
        topic=chosen.topic,
        call_timeout=chosen.call_timeout,
        call_retention=chosen.call_retention,
        max_clock_skew=chosen.max_clock_skew,
        kpi_window=chosen.kpi_window,
        decoder=CallDecoder(chosen.nulls),
    )


def stamp(record: model.Record) -> int:
    """The timestamp as Kafka has it."""
    return -1 if record.timestamp is None else record.timestamp


class Shelf:
    """A store in memory, which says how much of the changelog it has taken over."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.position = 0

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def scan(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((key, value) for key, value in self.rows.items() if first <= key < end))

    def write(self, rows: list[tuple[bytes, bytes | None]], position: int) -> None:
        for key, value in rows:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        self.position = position


Make = Callable[[Rules, int, Shelf | None], CallsPartition]


class Outcome:
    """What a run of the processor has published, and the changelog it has written; with a store or without."""

    def __init__(
        self, chosen: model.Settings, store: Shelf | None = None, make: Make = CallsPartition
    ) -> None:
        self.rules, self.number, self.store, self.make = rules_of(chosen), chosen.partition, store, make
        self.random = Random(chosen.kpi_window)
        self.partition = make(self.rules, self.number, store)
        self.completed: list[tuple] = []
        self.kpis: dict[bytes, bytes] = {}
        self.dead: list[tuple] = []
        self.changelog: list[tuple[bytes, bytes | None]] = []
        self.ledger: bytes | None = None
        self.key_mismatches = 0
        #: Rows of the last checkpoint that the store does not have yet.
        self.stored: list[tuple[bytes, bytes | None]] = []

    def step(self, step: model.Record | model.Idle) -> None:
        if isinstance(step, model.Idle):
            self.partition.advance(step.until)
            while self.partition.settle():
                self.between()
            return
        wall = _FAR if step.clock is None else step.clock
        record = step.offset, stamp(step), step.key, step.value, step.headers
        while not self.partition.process([record], wall):
            self.between()

    def between(self) -> None:
        """More is due, and a commit may come first, or the end of the worker."""
        choice = self.random.random()
        if choice < 0.2:
            self.restart(self.random)
        elif choice < 0.6:
            self.checkpoint()

    def checkpoint(self) -> None:
        self.write_stored()  # what the checkpoint before had for it, at the last possible moment
        checkpoint = self.partition.checkpoint()
        assert not checkpoint.failures, checkpoint.failures
        assert not checkpoint.stuck, checkpoint.stuck
        self.completed += checkpoint.outputs["completed"]
        self.dead += checkpoint.outputs["dead"]
        self.kpis |= {key: value for key, value, *_ in checkpoint.outputs["kpis"]}
        self.changelog += checkpoint.rows
        self.ledger = checkpoint.partition_state
        self.key_mismatches += checkpoint.tally.key_mismatches
        if self.store is None:
            assert not checkpoint.stored
        else:
            self.stored = checkpoint.stored

    def write_stored(self) -> None:
        if self.store is not None:
            self.store.write(self.stored, len(self.changelog))

    def restart(self, random: Random) -> None:
        """Die after a checkpoint, and come back from what the store has, if any, and the rest of the changelog."""
        self.checkpoint()
        if random.random() < 0.5:
            self.write_stored()
        self.stored = []
        if self.store is not None and random.random() < 0.1:
            self.store = Shelf()  # a new disk
        self.partition = self.make(self.rules, self.number, self.store)
        at = 0 if self.store is None else self.store.position
        while at < len(self.changelog):
            end = random.randint(at + 1, len(self.changelog))
            rows = self.partition.restore(self.changelog[at:end])
            if self.store is not None:
                self.store.write(rows, end)
            at = end
        list(self.partition.ready(self.ledger))


def run(
    chosen: model.Settings,
    steps: list,
    random: Random,
    cutting: float,
    restarting: float,
    store: Shelf | None = None,
    make: Make = CallsPartition,
) -> Outcome:
    outcome = Outcome(chosen, store, make)
    for step in steps:
        outcome.step(step)
        if random.random() < cutting:
            outcome.checkpoint()
        if random.random() < restarting:
            outcome.restart(random)
    outcome.checkpoint()
    return outcome


def standing(completed: list[model.Completed]) -> tuple[Counter[str], int]:
    """Calls by the status that their last revision says, and how many are closed by their timeout by it."""
    status, timed_out, last = Counter[str](), Counter[bool](), dict[str, dict]()
    for each in completed:
        value = each.value
        if value["revision"] > 1:  # else a call, perhaps of an id that was forgotten
            status[last[each.key]["status"]] -= 1
            timed_out[last[each.key]["closed_by"] == "timeout"] -= 1
        status[value["status"]] += 1
        timed_out[value["closed_by"] == "timeout"] += 1
        last[each.key] = value
    return status, timed_out[True]


def same_as_model(chosen: model.Settings, steps: list, outcome: Outcome) -> None:
    expected = model.Partition(chosen).run(steps)
    found = [
        model.Completed(key.decode(), msgspec.json.decode(value), timestamp)
        for key, value, timestamp, _ in outcome.completed
    ]
    assert found == expected.completed
    assert [(key, value, ts) for key, value, ts, _ in outcome.dead] == [
        (letter.record.key, letter.record.value, NOW) for letter in expected.dead
    ]
    for (_, _, _, headers), letter in zip(outcome.dead, expected.dead, strict=True):
        said = {name: (value or b"").decode() for name, value in headers if name.startswith("dead-")}
        assert said.pop("dead-path", None) in letter.paths
        assert said.pop("dead-message")
        assert said == letter.headers
    assert {key.decode(): msgspec.json.decode(value) for key, value in outcome.kpis.items()} == expected.kpis
    ledger = outcome.partition.ledger
    assert ledger.read == expected.figures["read"] == ledger.applied + sum(ledger.rejected.values())
    assert ledger.applied == expected.figures["applied"]
    assert outcome.key_mismatches == expected.figures["key mismatch"]
    assert {reason: n for reason, n in ledger.rejected.items() if n} == dict(expected.rejected)
    status, timed_out = standing(found)
    assert {name: n for name, n in ledger.closed.items() if n} == {name: n for name, n in status.items() if n}
    assert ledger.timed_out == timed_out
    assert ledger.opened == sum(ledger.closed.values()) + len(outcome.partition.open)
    assert sum(ledger.closed.values()) == expected.figures["closed"]
    assert {key.decode() for key in outcome.partition.open} == set(expected.open)


@pytest.mark.parametrize("seed", range(150))
def test_the_fold_says_what_the_model_says(seed: int) -> None:
    random = Random(seed)
    chosen, steps = generate(random, 60)
    cutting, restarting = random.choice([(0.0, 0.0), (1.0, 0.0), (0.2, 0.05), (0.5, 0.5)])
    same_as_model(chosen, steps, run(chosen, steps, random, cutting, restarting))


@pytest.mark.parametrize("seed", range(150))
def test_so_it_does_in_steps_with_commits_and_deaths_between(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DUE_AT_ONCE", 1)
    monkeypatch.setattr(module, "_PAST_AT_ONCE", 2)
    monkeypatch.setattr(module, "_FULL", 1)
    random = Random(seed)
    chosen, steps = generate(random, 80)
    outcome = run(chosen, steps, random, 0.2, 0.05, random.choice([None, Shelf()]))
    same_as_model(chosen, steps, outcome)


def test_what_falls_due_at_once_is_done_in_steps_and_windows_wait_for_it() -> None:
    """A pause longer than the retention: windows ended, and were forgotten, before all their calls had closed."""
    rules = Rules(call_timeout=10_000, call_retention=60_000, kpi_window=1_000)
    partition, count = CallsPartition(rules, 0), 3_500
    partition.process([(n, 5_000, None, event(f"c{n}", "ringing"), []) for n in range(count)], _FAR)
    partition.checkpoint()
    late = [(count, 10_000_000, None, event("x", "queued"), [])]
    kpis: dict[bytes, bytes] = {}
    steps = 0
    while not partition.process(late, _FAR):
        steps += 1
        assert partition.pending <= 2 * module._DUE_AT_ONCE
        checkpoint = partition.checkpoint()
        kpis |= {key: value for key, value, *_ in checkpoint.outputs["kpis"]}
    kpis |= {key: value for key, value, *_ in partition.checkpoint().outputs["kpis"]}
    assert steps == 3
    [value] = kpis.values()
    assert msgspec.json.decode(value)["timed_out"] == count
    assert partition.ledger.read == count + 1


def test_what_is_to_be_published_ends_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FULL", 1_000)
    partition = CallsPartition(Rules(), 0)
    letters = [(n, 5, None, b"?" * 400, []) for n in range(10)]
    assert partition.process(letters, _FAR) == 3
    assert partition.pending_bytes >= 1_200
    assert partition.process(letters[3:], _FAR) == 3, "also when nothing was committed in between"
    partition.checkpoint()
    assert partition.pending_bytes == 0


@pytest.mark.parametrize("seed", range(150))
def test_so_it_does_with_a_store_that_is_behind_when_the_worker_dies(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        deadlines, "_FEW", 0
    )  # deadlines of calls that have ended are dropped at every checkpoint
    random = Random(seed)
    chosen, steps = generate(random, 60)
    cutting, restarting = random.choice([(1.0, 0.0), (0.2, 0.05), (0.5, 0.5)])
    outcome = run(chosen, steps, random, cutting, restarting, Shelf())
    same_as_model(chosen, steps, outcome)
    in_memory = CallsPartition(outcome.rules, outcome.number)
    in_memory.restore(outcome.changelog)
    list(in_memory.ready(outcome.ledger))
    horizon = outcome.partition.ledger.stream_time - outcome.rules.call_retention
    remembered = {
        call_id: state
        for call_id in (key for key, _ in outcome.changelog)
        if (state := in_memory.find(call_id.decode("utf-8", "ignore"))) is not None
        and (state.closed_at is None or state.closed_at >= horizon)
    }
    assert {call_id: outcome.partition.find(call_id.decode()) for call_id in remembered} == remembered
    assert len(in_memory) >= len(remembered) <= len(outcome.partition)
    outcome.write_stored()
    rows = outcome.store.rows if outcome.store else {}
    assert sum(key.startswith(b"c") for key in rows) == sum(key.startswith(b"d") for key in rows)
    assert sum(key.startswith(b"c") for key in rows) == len(outcome.partition) - len(outcome.partition.open)


def test_a_store_forgets_what_is_past() -> None:
    chosen, steps = generate(Random(1), 60)
    store = Shelf()
    outcome = run(chosen, steps, Random(1), 1.0, 0.0, store)
    outcome.step(model.Idle(outcome.partition.ledger.stream_time + 10 * _DAY))
    outcome.checkpoint()
    outcome.step(model.Idle(outcome.partition.ledger.stream_time + 10 * _DAY))
    outcome.checkpoint()  # what its timeout has just closed
    outcome.checkpoint()
    outcome.write_stored()
    assert len(outcome.partition) == 0
    assert set(store.rows) <= {b"n"}


def test_what_is_forgotten_is_gone_from_the_compacted_changelog_too() -> None:
    """Without tombstones a changelog grows forever, and every recovery with it."""
    chosen, steps = generate(Random(1), 60)
    outcome = run(chosen, steps, Random(1), 1.0, 0.0)
    compacted = dict(outcome.changelog)
    assert any(compacted.values())
    for _ in range(3):  # calls time out, are forgotten, and so are their windows
        outcome.step(model.Idle(outcome.partition.ledger.stream_time + 10 * _DAY))
        outcome.checkpoint()
    compacted |= dict(outcome.changelog)
    assert not any(compacted.values())


@pytest.mark.parametrize("is_restored", [False, True])
@pytest.mark.parametrize(("direction", "own"), [("inbound", "to"), ("outbound", "from_")])
def test_open_calls_share_what_is_their_accounts(direction: str, own: str, is_restored: bool) -> None:
    """Half of what an open call takes, if each had its own."""
    partition = CallsPartition(Rules(), 0)
    event = {
        "status": "ringing",
        "direction": direction,
        "from": "+12125550100",
        "to": "+442079460100",
        "url": "https://example.com/answer",
        "status_callback": "https://example.com/status",
    }
    for n in range(2):
        partition.process([(n, 5, None, msgspec.json.encode({"id": f"c{n}", **event}), [])], _FAR)
    if is_restored:
        checkpoint = partition.checkpoint()
        partition = CallsPartition(Rules(), 0)
        partition.restore(checkpoint.rows)
        list(partition.ready(checkpoint.partition_state))
    one, other = partition.open.values()
    for name in (own, "url", "status_callback"):
        assert getattr(one, name) is getattr(other, name)


def event(call_id: str, status: str, **others: str | int) -> bytes:
    numbers = {"from": "+12125550100", "to": "+442079460100"}
    return msgspec.json.encode({"id": call_id, "status": status, "direction": "inbound", **numbers, **others})


def test_a_window_is_published_when_it_ends_and_when_it_is_corrected_and_not_else() -> None:
    partition, offset = CallsPartition(Rules(kpi_window=1000), 0), 0

    def published(timestamp: int, value: bytes) -> tuple[int, int]:
        """How many completed calls and KPI windows a checkpoint publishes after one more record."""
        nonlocal offset
        partition.process([(offset, timestamp, None, value, [])], _FAR)
        offset += 1
        checkpoint = partition.checkpoint()
        rows.extend(checkpoint.rows)
        ledgers.append(checkpoint.partition_state)
        return len(checkpoint.outputs["completed"]), len(checkpoint.outputs["kpis"])

    rows: list[tuple[bytes, bytes | None]] = []
    ledgers: list[bytes] = []
    assert published(999, event("a", "completed")) == (1, 0)
    assert published(1000, event("b", "ringing")) == (0, 1), "stream time has reached its end"
    partition = CallsPartition(Rules(kpi_window=1000), 0)
    partition.restore(rows)
    list(partition.ready(ledgers[-1]))
    assert published(1000, event("b", "in-progress")) == (0, 0), "it was published before"
    assert published(1000, event("a", "completed", recording_url="https://example.com/1")) == (1, 0)
    assert published(1000, event("a", "completed", price="-1", price_unit="USD")) == (1, 1), "it is corrected"


def test_what_is_remembered_of_published_calls_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PUBLISHED", 3)
    partition = CallsPartition(Rules(), 0)
    for price in ("-1", "-2"):
        for n in range(10):
            value = event(f"c{n}", "completed", price=price, price_unit="USD")
            partition.process([(n, 5, None, value, [])], _FAR)
            assert 0 < len(partition.published) <= 3
    assert len(partition.checkpoint().outputs["completed"]) == 20


def test_an_amendment_counts_only_what_it_makes_true() -> None:
    partition, counted = CallsPartition(Rules(), 0), []
    for offset, value in enumerate(
        (
            event("a", "busy"),
            event("a", "completed"),
            event("a", "completed", price="-1", price_unit="USD"),
            event("a", "completed", price="-1", price_unit="USD", answered_by="human"),
            event("a", "completed", price="0.5", price_unit="USD", answered_by="human"),
        )
    ):
        partition.process([(offset, 5, None, value, [])], _FAR)
        tally = partition.checkpoint().tally
        counted.append((dict(tally.answered), set(tally.anomalies), tally.charges, tally.refunds))
    answered, anomalies, charges, refunds = zip(*counted, strict=True)
    assert answered == ({}, {("inbound", "unknown"): 1}, {}, {}, {})
    assert anomalies == (
        {"id-not-uuid", "no-history"},
        {"conflicting-status", "missing-answer"},
        set(),
        set(),
        set(),
    )
    assert charges == ({}, {}, {"USD": 1}, {}, {})
    assert refunds == ({}, {}, {}, {}, {"USD": 1.5})


@pytest.mark.parametrize(
    ("said", "durations"),
    [
        ({"duration": 7, "start_time": "2026-11-25T03:00:00Z", "end_time": "2026-11-25T03:00:09Z"}, [7]),
        ({"start_time": "2026-11-25T03:00:00Z", "end_time": "2026-11-25T03:00:09.5Z"}, [9.5]),
        ({"start_time": "2026-11-25T03:00:00Z"}, []),
    ],
)
def test_how_long_a_call_was_is_what_its_producer_says_else_from_start_to_end(
    said: dict, durations: list[float]
) -> None:
    partition = CallsPartition(Rules(), 0)
    partition.process([(0, 5, None, event("a", "completed", **said), [])], _FAR)
    assert partition.checkpoint().tally.durations == durations


def test_a_cut_right_after_a_restart_in_the_middle_of_what_is_due_forgets_no_window() -> None:
    """A worker commits as soon as it owns a partition, before anything more is done."""
    rules = Rules(call_timeout=10_000, call_retention=60_000, kpi_window=1_000)
    partition = CallsPartition(rules, 0)
    calls = [(n, 5_000, None, event(f"c{n}", "ringing"), []) for n in range(module._DUE_AT_ONCE + 1)]
    partition.process(calls, _FAR)
    partition.advance(10_000_000)
    assert partition.settle(), "one more is due"
    checkpoint = partition.checkpoint()
    again = CallsPartition(rules, 0)
    again.restore(checkpoint.rows)
    list(again.ready(checkpoint.partition_state))
    assert not again.checkpoint().outputs["kpis"]
    assert len(again.windows) == 1
    assert not again.settle()
    [(_, value, *_)] = again.checkpoint().outputs["kpis"]
    assert msgspec.json.decode(value)["timed_out"] == len(calls)


def test_sums_of_a_window_may_pass_64_bits() -> None:
    """60,000 calls of 9,999 years were enough to end every worker that got the partition."""
    partition = CallsPartition(Rules(kpi_window=1_000), 0)
    times = {"start_time": "0000-01-01T00:00:00Z", "end_time": "9999-12-31T23:59:59.999Z"}
    partition.process([(0, 500, None, event("a", "completed", **times), [])], _FAR)
    [window] = partition.windows._windows.values()
    each = window.talk_ms
    window.talk_ms = 60_000 * each
    assert window.talk_ms > 2**64
    checkpoint = partition.checkpoint()
    again = CallsPartition(Rules(kpi_window=1_000), 0)
    again.restore(checkpoint.rows)
    list(again.ready(checkpoint.partition_state))
    again.process([(1, 1_000, None, event("b", "completed", **times), [])], _FAR)
    again.process([(2, 1_000, None, event("a", "completed", recording_url="urn:x:y", **times), [])], _FAR)
    [(_, value, *_)] = again.checkpoint().outputs["kpis"]
    assert f'"talk_seconds":{60_000 * each // 1000}.'.encode() in value


def test_what_calls_share_is_bounded() -> None:
    long = "https://example.com/" + "x" * 600
    assert state.shared(long) is long
    assert long not in state._SHARED
    for number in range(state._MOST_SHARED + 10):
        state.shared(f"https://hostile.example/{number}")
    assert len(state._SHARED) <= state._MOST_SHARED
    one, other = (state.shared("https://example.com/" + "same" * part) for part in (2, 2))
    assert one is other


def test_the_letter_of_a_value_that_was_too_large_to_be_read_says_how_large() -> None:
    partition = CallsPartition(Rules(), 0)
    assert partition.process([(7, 5, b"key", LeftOut(1 << 30), [("trace", b"1")])], _DAY) == 1
    ((key, value, _, headers),) = partition.checkpoint().outputs["dead"]
    assert (key, value, headers[0]) == (b"key", b"", ("trace", b"1"))
    said = dict(headers)
    assert (said["dead-reason"], said["dead-offset"]) == (b"too-large", b"7")
    assert headers[-1] == ("dead-value-bytes", b"1073741824")
