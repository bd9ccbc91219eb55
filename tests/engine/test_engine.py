"""What the engine does with batches that do not follow on each other, and where it reads on: no Kafka needed."""

import asyncio
import gc
import os
import time
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata
from faust.types import TP
from msgspec import Struct

from streams.calls.partition import CallsPartition, Rules
from streams.engine.clock import Clock
from streams.engine.config import Config
from streams.engine.engine import MAX_PENDING, MAX_PENDING_BYTES, Engine
from streams.engine.fetch import RecordBatch, RecordsLostError
from streams.engine.members import Member, MembersUnknownError
from streams.engine.offsets import NotAMemberError
from streams.engine.owned import OwnedPartition
from streams.engine.protocol import Membership
from streams.engine.restore import Position, encode_position, read_position
from streams.engine.start import start_offset
from streams.engine.store import Changelog, Stores
from streams.engine.writer import Share
from streams.records import Record

SOURCE = TopicPartition("in", 0)


class Recorder:
    """A processor that only notes offsets."""

    pending = pending_bytes = 0
    #: How many records it applies at a time.
    piece = 1 << 30

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def process(self, records: Sequence[Record], wall: int) -> int:  # noqa: ARG002
        self.offsets += [record[0] for record in records[: self.piece]]
        return min(self.piece, len(records))


class Silence:
    def applied(self, *_: object) -> None: ...


class App:
    """Notes where the consumer is sent to."""

    def __init__(self) -> None:
        self.consumer = self
        self.sought: list[dict[Any, int]] = []

    async def seek_wait(self, places: dict[Any, int]) -> None:
        self.sought.append(places)


def batch(first: int, after: int) -> RecordBatch:
    return RecordBatch(SOURCE, first, after, [(n, 0, None, b"", ()) for n in range(first, after)])


def engine(next_offset: int) -> tuple[Engine, Recorder, App]:
    recorder, app = Recorder(), App()
    config = Config("group", "in", {}, "changelog", lambda _: recorder, {}, wall_clock=lambda: 0)  # type: ignore[arg-type, return-value]
    made = Engine(app, config, Silence())  # type: ignore[arg-type]
    made.clock.go_blind()
    made.partitions = {0: OwnedPartition(recorder, 0, next_offset)}  # type: ignore[arg-type]
    return made, recorder, app


@pytest.mark.parametrize(
    ("first", "after", "applied"),
    [
        (5, 8, [5, 6, 7]),
        (3, 7, [5, 6]),  # partly known
        (2, 5, []),  # all of it
    ],
)
def test_records_that_are_in_the_state_are_not_applied_again(
    first: int, after: int, applied: list[int]
) -> None:
    made, recorder, app = engine(next_offset=5)
    asyncio.run(made.process(batch(first, after)))
    assert recorder.offsets == applied
    assert made.partitions[0].next_offset == max(5, after)
    assert not app.sought


def test_a_gap_between_batches_is_read_again_and_not_skipped() -> None:
    made, recorder, app = engine(next_offset=5)
    asyncio.run(made.process(batch(8, 12)))
    assert recorder.offsets == []
    assert made.partitions[0].next_offset == 5
    assert app.sought == [{SOURCE: 5}]


def test_a_restore_gives_way_to_a_commit_but_not_for_long() -> None:
    async def work() -> tuple[list[str], float]:
        made, _, app = engine(next_offset=5)
        app.engines, order = (made,), []  # type: ignore[attr-defined]
        async with made._committing:
            begun = time.monotonic()
            await made._give_way()
            waited = time.monotonic() - begun
        await made._committing.acquire()
        restore = asyncio.create_task(made._give_way())
        restore.add_done_callback(lambda _: order.append("restore"))
        await asyncio.sleep(0.002)
        order.append("commit")
        made._committing.release()
        await restore
        return order, waited

    order, waited = asyncio.run(work())
    assert order == ["commit", "restore"]
    assert 0.015 < waited < 1, "a worker that always commits must restore all the same"


def test_a_batch_that_fails_half_way_stops_the_worker_and_nothing_of_it_is_committed() -> None:
    made, recorder, app = engine(next_offset=5)
    crashed: list[BaseException] = []

    async def crash(error: BaseException) -> None:
        crashed.append(error)

    def fail(records: Sequence[Record], wall: int) -> int:
        Recorder.process(recorder, records[:1], wall)
        raise OSError("the disk is broken")

    app.crash, recorder.process, recorder.pending = crash, fail, 1  # type: ignore[attr-defined, method-assign]

    async def work() -> int:
        await made.process(batch(5, 8))
        await made.process(batch(8, 9))
        return await made.commit()

    assert asyncio.run(work()) == 0
    assert [str(error) for error in crashed] == ["the disk is broken"]
    assert recorder.offsets == [5]
    assert not app.sought


def test_batches_of_partitions_that_are_not_ours_are_left_alone() -> None:
    made, recorder, _ = engine(next_offset=5)
    asyncio.run(made.process(RecordBatch(TopicPartition("in", 1), 0, 3, batch(0, 3).records)))
    assert recorder.offsets == []


@pytest.mark.parametrize(
    ("position", "committed", "start"),
    [
        (None, None, 10),  # a new group: the beginning of the log
        (None, 40, 40),  # no state: the group
        (50, None, 50),
        (50, 50, 50),
        (50, 40, 50),  # what lies between is in the state
        (50, 60, 60),  # moved on by hand
    ],
)
def test_where_to_read_on(position: int | None, committed: int | None, start: int) -> None:
    state = None if position is None else Position(position, b"")
    assert start_offset(SOURCE, state, committed, 10, 100) == start


@pytest.mark.parametrize(
    ("position", "committed", "start", "skipped", "to", "unsaid"),
    [
        (None, None, 10, 0, 0, True),  # the group has no offset yet
        (None, 40, 40, 0, 0, True),
        (Position(50, b""), 50, 50, 0, 0, False),
        (Position(50, b""), 40, 50, 0, 0, True),
        (Position(50, b""), 60, 60, 10, 60, True),
        (Position(50, b"", skipped=4, skipped_to=30), 50, 50, 4, 30, False),
        (Position(50, b"", skipped=4, skipped_to=30), 60, 60, 14, 60, True),
    ],
)
def test_what_the_group_was_moved_past_is_counted_in_the_state(
    position: Position | None, committed: int | None, start: int, skipped: int, to: int, unsaid: bool
) -> None:
    owned = OwnedPartition(Recorder(), 0, start)  # type: ignore[arg-type]
    owned.begin(position, committed)
    assert (owned.skipped, owned.skipped_to) == (skipped, to)
    assert owned.begins is unsaid
    assert not owned.dirty, "it is said once the log has been read from"


def test_positions_of_the_release_before_can_be_read_and_it_can_read_ours() -> None:
    class Former(Struct, array_like=True):
        next_offset: int
        partition_state: bytes
        version: int = 1
        topic: bytes = b""

    former, ours = (
        Former(7, b"ledger", topic=b"id"),
        Position(7, b"ledger", topic=b"id", skipped=3, skipped_to=7),
    )
    assert read_position(encode_position(former)) == Position(7, b"ledger", topic=b"id")
    assert msgspec.msgpack.decode(encode_position(ours), type=Former) == former
    assert read_position(encode_position(ours)) == ours


@pytest.mark.parametrize(
    ("position", "committed", "said"),
    [
        (Position(7, b""), 7, "3 records were removed before they were read"),
        (Position(50, b""), 107, "the group was moved 7 past the end of the log"),
        (Position(101, b"", topic=b"id"), 101, "the log has lost its last 1 records"),
        (
            Position(101, b""),
            101,
            "moved past the end of the log, or the topic was deleted and created again",
        ),
        (None, 101, "moved past the end of the log, or the topic was deleted and created again"),
    ],
)
def test_an_offset_that_the_log_does_not_hold_is_refused(
    position: Position | None, committed: int, said: str
) -> None:
    with pytest.raises(RecordsLostError, match=said):
        start_offset(SOURCE, position, committed, 10, 100)


@pytest.mark.parametrize(
    ("place", "next_offset", "is_ours"),
    [
        (OffsetAndMetadata(5, "mine"), 5, True),
        (OffsetAndMetadata(5, "another's"), 5, False),  # an idle clock's commit: no offset more
        (OffsetAndMetadata(9, "mine"), 5, False),
        (OffsetAndMetadata(5, "mine"), 6, False),  # what has been applied since was never committed
        (None, 5, False),
    ],
)
def test_state_is_kept_only_if_the_groups_last_commit_is_its_own(
    place: OffsetAndMetadata | None, next_offset: int, is_ours: bool
) -> None:
    owned = OwnedPartition(Recorder(), 0, 5)  # type: ignore[arg-type]
    owned.note, owned.next_offset = "mine", next_offset
    assert owned.is_of(place) is is_ours


def test_state_of_a_group_that_has_never_committed_is_kept_if_it_has_not_either() -> None:
    assert OwnedPartition(Recorder(), 0, 0).is_of(None)  # type: ignore[arg-type]


class Group:
    """What a consumer says of the group; and in which order the engine does what makes a takeover safe."""

    def __init__(self, made: Engine, monkeypatch: pytest.MonkeyPatch, changelog: int) -> None:
        self.seen: list[str] = []
        self.member = "us"
        self.places: dict[int, OffsetAndMetadata] = {}
        made._writer, app = Mock(stop=AsyncMock(), look_again=self._note("looked", None)), made.app
        monkeypatch.setattr(app, "topic_id", self._note("identified", b"id"), raising=False)
        monkeypatch.setattr(app, "partition_count", self._note("counted", changelog), raising=False)
        monkeypatch.setattr(app, "membership", self.membership, raising=False)
        monkeypatch.setattr(app, "stable_offsets", self.stable_offsets, raising=False)
        monkeypatch.setattr(made.topics, "learn", self._note("learned", None))
        monkeypatch.setattr(made._left_open, "end", self._note("ended", None))
        monkeypatch.setattr("streams.engine.engine.fence_former_release", self.fence)
        monkeypatch.setattr(made, "_restore", self.restore)
        monkeypatch.setattr(made.observer, "assigned", lambda _: None, raising=False)

    def _note(self, what: str, result: object) -> Any:
        async def noted(*_: object) -> Any:
            await asyncio.sleep(0)
            self.seen.append(what)
            return result

        return noted

    def membership(self, generation: int) -> Membership:
        return Membership(generation, self.member, None)

    async def stable_offsets(self, _topic: str, partitions: Sequence[int]) -> Any:
        self.seen.append(f"offsets of {sorted(partitions)}")
        return {number: self.places[number] for number in partitions if number in self.places}, set()

    async def fence(self, _config: Config, _client: object, numbers: list[int]) -> None:
        self.seen.append(f"fenced {numbers}")

    async def restore(self, numbers: list[int], _places: object) -> dict[int, OwnedPartition]:
        self.seen.append(f"restored {numbers}")
        return {number: OwnedPartition(Recorder(), number, 5) for number in numbers}  # type: ignore[arg-type]


def tps(*numbers: int) -> list[TP]:
    return [TP("in", number) for number in numbers]


def test_what_others_left_open_is_ended_before_the_groups_offsets_and_the_changelog_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before, both may still move: the order is what makes it safe."""
    made, _, _ = engine(next_offset=5)
    group = Group(made, monkeypatch, changelog=2)

    async def work() -> None:
        await made.assign(tps(0, 1, 2), 7)
        assert made.partitions == {}
        assert made.writer.member == Membership(7, "us", None)
        await made.restore()

    asyncio.run(work())
    seen = [
        "identified",
        "counted",
        "learned",
        "looked",
        "ended",
        "fenced [0, 1]",
        "offsets of [0, 1]",
        "restored [1]",
    ]
    assert group.seen == seen, "what was ours before is kept if the last commit is ours"
    assert sorted(made.partitions) == [0, 1]
    assert made.waiting == {2}, "the changelog has two partitions"


@pytest.mark.parametrize("stays", [True, False])
def test_what_stays_ours_from_one_generation_to_the_next_goes_on_at_once(
    monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    """Somebody else may have had it where we were out of the group in between, whatever the last commit is."""
    made, recorder, _ = engine(next_offset=5)
    group = Group(made, monkeypatch, changelog=2)

    async def work() -> None:
        await made.assign(tps(0), 7)
        await made.restore()
        group.seen.clear()
        if not stays:
            group.member = "us, once more"
        await made.assign(tps(0, 1), 8)
        assert sorted(made.partitions) == ([0] if stays else [])
        await made.restore()

    asyncio.run(work())
    first = ["identified", "counted", "learned"]
    rest = ["looked", "ended", "fenced [1]", "offsets of [1]", "restored [1]"]
    if not stays:
        rest = ["looked", "ended", "fenced [0, 1]", "offsets of [0, 1]", "restored [1]"]
    assert group.seen == [*first, *(["offsets of [0]"] if stays else []), *rest]
    assert made.partitions[0].processor is recorder


def test_a_worker_without_partitions_keeps_no_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers forget one that has nothing to write for a week: its first commit after that would fail."""
    made, _, _ = engine(next_offset=5)
    Group(made, monkeypatch, changelog=1)
    writer = made.writer

    async def work() -> None:
        await made.assign([], 7)
        await made.restore()

    asyncio.run(work())
    writer.stop.assert_awaited_once()  # type: ignore[attr-defined]
    assert made._writer is None
    assert not made._suspended


def test_a_generation_that_was_missed_is_one_in_which_others_had_our_partitions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, recorder, _ = engine(next_offset=5)
    group = Group(made, monkeypatch, changelog=1)

    async def work() -> None:
        await made.assign(tps(0), 7)
        await made.restore()
        group.seen.clear()
        await made.assign(tps(0), 9)
        assert made.partitions == {}
        await made.restore()
        assert group.seen[4:7] == ["ended", "fenced [0]", "offsets of [0]"], "and the last commit is ours"
        group.places = {0: OffsetAndMetadata(5, "theirs")}
        await made.assign(tps(0), 11)
        await made.restore()

    asyncio.run(work())
    assert group.seen[-1] == "restored [0]"
    assert made.partitions[0].processor is not recorder


def test_offsets_that_a_transaction_may_change_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _, app = engine(next_offset=5)
    group, asked = Group(made, monkeypatch, changelog=1), 0

    async def unstable(_topic: str, _partitions: object) -> Any:
        nonlocal asked
        asked += 1
        return {}, {0} if asked < 3 else set()

    monkeypatch.setattr(app, "stable_offsets", unstable)

    async def work() -> None:
        await made.assign(tps(0), 7)
        made._kept.clear()
        await made.restore()

    asyncio.run(work())
    assert (asked, group.seen[-1]) == (3, "restored [0]")


def test_members_are_known_by_their_identities_and_not_while_a_rebalance_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that is none of them is taken for dead, and its transaction ended."""
    made, _, app = engine(next_offset=5)
    found = [Member("m1", "http://a", [0], "worker-0"), Member("m2", "http://b", [1], "")]
    monkeypatch.setattr(app, "members", AsyncMock(return_value=("m1", found)), raising=False)
    assert asyncio.run(made._identities()) == {made.identity, "worker-0", ""}
    monkeypatch.setattr(app, "members", AsyncMock(side_effect=MembersUnknownError))
    assert asyncio.run(made._identities()) is None


@pytest.mark.parametrize(("is_doubtful", "is_busy"), [(True, False), (True, True), (False, False)])
def test_what_a_takeover_could_not_be_sure_to_have_ended_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, is_doubtful: bool, is_busy: bool
) -> None:
    """Readers of the outputs may wait for it, though the group does not. A takeover under way does it by itself."""
    made, _, _ = engine(next_offset=5)
    group = Group(made, monkeypatch, changelog=1)
    made._left_open.is_doubtful = is_doubtful

    async def work() -> None:
        if is_busy:
            await made._assigning.acquire()
        await made.review()

    asyncio.run(work())
    assert group.seen == (["ended"] if is_doubtful and not is_busy else [])


async def committed_twice(made: Engine) -> int:
    """How many checkpoints two commits have written, with a batch before each."""
    await made.process(batch(5, 8))
    done = await made.commit()
    await made.process(batch(8, 9))
    return done + await made.commit()


def test_a_commit_that_fails_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is ahead of the log then; the next owner starts from the last checkpoint."""
    made, recorder, app = engine(next_offset=5)
    made._writer = Mock(write=AsyncMock(side_effect=RuntimeError("refused")))
    monkeypatch.setattr(recorder, "checkpoint", lambda: Mock(partition_state=b""), raising=False)
    monkeypatch.setattr(app, "crash", AsyncMock(), raising=False)

    assert asyncio.run(committed_twice(made)) == 0
    assert str(made.failure) == "refused"
    assert recorder.offsets == [5, 6, 7]
    made._writer.write.assert_awaited_once()


@pytest.mark.parametrize("error", [NotAMemberError("IllegalGenerationError"), ProducerFenced()])
def test_a_commit_that_the_group_refuses_drops_the_partitions_and_not_the_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: KafkaError
) -> None:
    """What was not committed has no effect: it is read again, here or elsewhere, from the last checkpoint."""
    made, recorder, app = engine(next_offset=5)
    store, rejoined = Mock(), []
    made.partitions[0].store = store
    made._writer = Mock(write=AsyncMock(side_effect=error))
    monkeypatch.setattr(recorder, "checkpoint", lambda: Mock(partition_state=b""), raising=False)
    monkeypatch.setattr(app, "twin", AsyncMock(return_value=None), raising=False)
    monkeypatch.setattr(app, "rejoin", lambda: rejoined.append(True), raising=False)

    assert asyncio.run(committed_twice(made)) == 0
    assert (made.failure, made.partitions, rejoined) == (None, {}, [True])
    assert recorder.offsets == [5, 6, 7]
    assert [call[0] for call in store.method_calls] == ["close"], (
        "not a row of what was not committed is stored"
    )
    assert "has gone on without this worker" in caplog.text


def test_a_static_member_that_is_fenced_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker may have its name, and they would fence each other for ever."""
    made, recorder, app = engine(next_offset=5)
    made.config = replace(made.config, instance_id="worker-0")
    made._writer = Mock(write=AsyncMock(side_effect=ProducerFenced()))
    monkeypatch.setattr(recorder, "checkpoint", lambda: Mock(partition_state=b""), raising=False)
    for name in ("twin", "crash"):
        monkeypatch.setattr(app, name, AsyncMock(return_value=None), raising=False)

    async def work() -> None:
        await made.process(batch(5, 8))
        await made.commit()

    asyncio.run(work())
    assert isinstance(made.failure, ProducerFenced)


def test_who_was_fenced_has_a_new_producer_for_the_next_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _, _ = engine(next_offset=5)
    Group(made, monkeypatch, changelog=1)
    fenced = made._writer = Mock(stop=AsyncMock())
    made._is_fenced = True
    new = Mock(start=AsyncMock())
    monkeypatch.setattr("streams.engine.engine.Writer", lambda *_: new)
    monkeypatch.setattr(made.topics, "learn", AsyncMock())
    asyncio.run(Engine._join(made, 8))
    fenced.stop.assert_awaited_once()
    assert (made._writer, made._is_fenced) == (new, False)
    asyncio.run(Engine._join(made, 9))
    new.start.assert_awaited_once()


def test_from_the_last_commit_before_a_rebalance_to_its_end_nothing_is_applied_or_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody else may have the partition by then."""
    made, recorder, _ = engine(next_offset=5)
    written: list[int] = []

    async def write(shares: list[Share]) -> list[int]:
        await asyncio.sleep(0)
        written.extend(share.next_offset for share in shares)
        return [0 for _ in shares]

    made._writer = Mock(write=write)
    monkeypatch.setattr(made.observer, "committed", lambda *_: None, raising=False)
    monkeypatch.setattr(recorder, "checkpoint", lambda: Mock(partition_state=b""), raising=False)

    async def work() -> None:
        await made.process(batch(5, 8))
        await made.suspend()
        assert written == [8]
        await made.process(batch(8, 9))
        made.partitions[0].clock_moved = True
        assert await made.commit() == 0
        await made.suspend()

    asyncio.run(work())
    assert recorder.offsets == [5, 6, 7]
    assert written == [8]
    made.partitions[0] = OwnedPartition(recorder, 0, 8)  # type: ignore[arg-type]
    made.partitions[0].heard_at = float("-inf")
    asyncio.run(made.tick())  # would ask the consumer how far it is


@pytest.mark.parametrize(
    ("measure", "most"), [("pending", MAX_PENDING), ("pending_bytes", MAX_PENDING_BYTES)]
)
def test_the_log_waits_when_too_much_waits_for_a_commit(
    measure: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, recorder, _ = engine(next_offset=5)
    other = Recorder()
    setattr(other, measure, most)  # one record, or byte, from another partition is one too many
    made.partitions[1] = OwnedPartition(other, 1, 0)  # type: ignore[arg-type]
    assert not made._is_too_much(), "as each commit sees it"
    setattr(recorder, measure, 1)
    commits = 0

    async def commit() -> int:
        nonlocal commits
        commits += 1
        setattr(recorder, measure, 0 if commits == 3 else 1)  # others had their turn first
        return 1

    monkeypatch.setattr(made, "commit", commit)
    asyncio.run(made.process(batch(5, 7)))
    assert commits == 3


@pytest.mark.parametrize(
    ("interval", "since", "overdue"),
    [(100, [-7], 6.9), (5_000, [-7, -6], 2), (10_000, [-7], 0), (100, [], 0)],
)
def test_a_change_waits_for_the_brokers_only_once_its_commit_is_overdue(
    interval: int, since: list[float], overdue: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interval of minutes is no reason to take the brokers for lost."""
    made, recorder, _ = engine(next_offset=5)
    monkeypatch.setattr("streams.engine.engine.time.monotonic", lambda: 1000.0)
    made.config = replace(made.config, commit_interval=interval)
    for number, at in enumerate(since):
        made.partitions[number] = OwnedPartition(recorder, number, 5)  # type: ignore[arg-type]
        made.partitions[number].waiting_since = 1000.0 + at
    assert made.waited() == pytest.approx(overdue)


def test_time_that_the_idle_clock_has_moved_is_committed_before_the_next_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, recorder, _ = engine(next_offset=5)
    made.partitions[0].clock_moved = True
    seen: list[list[int]] = []

    async def commit() -> int:
        seen.append(list(recorder.offsets))
        return 1

    monkeypatch.setattr(made, "commit", commit)
    asyncio.run(made.process(batch(5, 7)))
    assert seen == [[]]
    assert recorder.offsets == [5, 6]


def test_a_batch_is_applied_in_pieces_between_which_the_loop_turns_and_what_is_too_much_is_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, recorder, _ = engine(next_offset=5)
    recorder.piece, turns = 1, 0
    committed: list[tuple[list[int], int]] = []

    async def commit() -> int:
        committed.append((list(recorder.offsets), made.partitions[0].next_offset))
        recorder.pending = 0
        return 1

    def process(records: Sequence[Record], wall: int) -> int:
        recorder.pending = MAX_PENDING + 1 if recorder.offsets == [5] else 0
        return Recorder.process(recorder, records, wall)

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def work() -> None:
        counting = asyncio.create_task(count_turns())
        await made.process(RecordBatch(SOURCE, 5, 20, batch(6, 10).records[::2] + batch(12, 13).records))
        counting.cancel()

    monkeypatch.setattr(made, "commit", commit)
    recorder.process = process  # type: ignore[method-assign]
    recorder.offsets.append(5)
    asyncio.run(work())
    assert recorder.offsets == [5, 6, 8, 12]
    assert committed == [([5, 6], 8)], "the next offset is that of the first record that is not applied"
    assert made.partitions[0].next_offset == 20
    assert turns >= 2


@pytest.mark.parametrize("taken", ["suspended", "lost", "replaced"])
def test_a_partition_that_is_taken_away_between_two_pieces_is_left_as_it_is(taken: str) -> None:
    made, recorder, _ = engine(next_offset=5)
    recorder.piece = 1
    owned = made.partitions[0]

    async def take() -> None:
        if taken == "suspended":
            made._suspended = True
        elif taken == "lost":
            made.partitions = {}
        else:
            made.partitions = {0: OwnedPartition(Recorder(), 0, 5)}  # type: ignore[arg-type]

    async def work() -> None:
        await asyncio.gather(made.process(batch(5, 8)), take())

    asyncio.run(work())
    assert recorder.offsets == [5]
    assert owned.next_offset == 6, "where to read on"


@pytest.mark.parametrize("taken", [False, True])
def test_nothing_is_judged_by_a_clock_that_is_doubtful(monkeypatch: pytest.MonkeyPatch, taken: bool) -> None:
    """Neither records nor what is idle: the brokers are asked first, and a partition may be taken away meanwhile."""
    made, recorder, app = engine(next_offset=5)
    made.clock = Clock(lambda: 1_000_000, lambda: 0)
    owned, seen = made.partitions[0], list[Any]()
    owned.heard_at = float("-inf")

    async def probe(_number: int) -> None:
        seen.append("asked")
        asked = made.clock.asked()
        await asyncio.sleep(0)
        made.clock.heard(asked, 400_000)
        if taken:
            made.partitions = {}

    def process(records: Sequence[Record], wall: int) -> int:
        seen.append(wall)
        return Recorder.process(recorder, records, wall)

    def advance(wall: int) -> bool:
        seen.append(wall)
        return False

    made._writer = Mock(probe=probe)
    recorder.process = process  # type: ignore[method-assign]
    monkeypatch.setattr(app, "is_caught_up", lambda *_: True, raising=False)
    monkeypatch.setattr(recorder, "settle", lambda: False, raising=False)
    monkeypatch.setattr(recorder, "advance", advance, raising=False)
    asyncio.run(made.process(batch(5, 6)))
    assert seen == (["asked"] if taken else ["asked", 400_000])
    made.partitions, made.clock = {0: owned}, Clock(lambda: 1_000_000, lambda: 0)
    owned.committed, owned.heard_at = owned.next_offset, float("-inf")
    seen.clear()
    asyncio.run(made.tick())
    assert seen == (["asked"] if taken else ["asked", 400_000])


def test_a_question_for_the_time_that_fails_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its transaction is open, so nothing could be committed any more."""
    made, recorder, app = engine(next_offset=5)
    made.clock = Clock(lambda: 1_000_000)
    made._writer = Mock(probe=AsyncMock(side_effect=RuntimeError("no answer")))
    monkeypatch.setattr(app, "crash", AsyncMock(), raising=False)
    asyncio.run(made.process(batch(5, 6)))
    assert str(made.failure) == "no answer"
    assert recorder.offsets == []


def test_what_is_due_in_an_idle_partition_is_done_in_pieces_before_its_time_moves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, recorder, app = engine(next_offset=5)
    made.partitions[0].heard_at = float("-inf")
    done: list[str] = []
    hears_at = 7

    def settle() -> bool:
        done.append("settle")
        if len(done) == hears_at:
            made.partitions[0].heard_at = float("inf")
        return len(done) not in {3, 4}

    def advance(_wall: int) -> bool:
        done.append("advance")
        return False

    monkeypatch.setattr(app, "is_caught_up", lambda *_: True, raising=False)
    monkeypatch.setattr(recorder, "settle", settle, raising=False)
    monkeypatch.setattr(recorder, "advance", advance, raising=False)
    asyncio.run(made.tick())
    assert done == ["settle"] * 3 + ["advance"]
    asyncio.run(made.tick())  # something comes in between
    assert done == ["settle"] * 3 + ["advance"] + ["settle"] * 3


class Upstream:
    """Whether there is anything left in its source."""

    def __init__(self, *drained: bool) -> None:
        self.answers = iter(drained)

    async def is_drained(self) -> bool:
        return next(self.answers)


@pytest.mark.parametrize(
    ("ticks", "drained", "sure"),
    [
        ([100, 105], [True, True], 100),
        ([100], [True], None),  # what it has just written may not have been fetched yet
        ([100, 105], [False, True], None),
        ([100, 105], [True, False], None),
        ([100, 105, 111], [True, False, True], None),
        ([100, 200], [True, True], None),  # long ago
    ],
)
def test_an_idle_partition_is_one_whose_upstream_has_nothing_left_either(
    ticks: list[float], drained: list[bool], sure: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, *_ = engine(next_offset=5)
    made.upstream = Upstream(*drained)  # type: ignore[assignment]
    found = None
    for now in ticks:
        monkeypatch.setattr("streams.engine.engine.time.time", lambda now=now: now)
        found = asyncio.run(made._supplied())
    assert found == sure


@pytest.mark.parametrize(("committed", "drained"), [({0: 7}, True), ({0: 6}, False), ({}, False)])
def test_a_source_is_drained_when_the_group_has_committed_all_of_it(
    committed: dict[int, int], drained: bool
) -> None:
    made, _, app = engine(next_offset=5)

    async def bounds(_topic: str) -> dict[int, tuple[int, int]]:
        return {0: (2, 7), 1: (3, 3)}  # the second one is empty, and was never committed

    async def stable_offsets(_topic: str, _partitions: object) -> Any:
        return {n: OffsetAndMetadata(at, "") for n, at in committed.items()}, set()

    app.bounds, app.stable_offsets = bounds, stable_offsets  # type: ignore[attr-defined]
    assert asyncio.run(made.is_drained()) is drained


def test_a_partition_that_moves_away_is_freed_at_once_though_no_collector_looks_at_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What has been restored is frozen; a cycle in it would be kept for ever."""
    made, _, _ = engine(next_offset=5)
    partitions, stores = [], Stores(tmp_path, "worker")
    for number in range(2):
        store = stores.open(number, Changelog(b"changelog-id-16b", 0, 1), 0) if number else None
        calls = CallsPartition(Rules(), number, store)
        calls.process([(n, 5, None, event(f"call-{n}", "queued"), []) for n in range(50)], 10)
        calls.process([(n, 6, None, event(f"call-{n}", "completed"), []) for n in range(20)], 10)
        calls.process([(70, 7, None, b"{", [])], 10)
        calls.checkpoint()
        made.partitions[number] = OwnedPartition(calls, number, 71, store)
        partitions.append(weakref.ref(calls))
        partitions += [weakref.ref(each) for each in (calls.deadlines, calls.closed, calls.windows)]
    del calls
    Group(made, monkeypatch, changelog=2)
    gc.disable()
    gc.freeze()
    try:
        asyncio.run(made.assign([], 1))
        assert [each() for each in partitions] == [None] * 8
    finally:
        gc.unfreeze()
        gc.enable()


def test_the_store_of_a_partition_that_stays_is_not_removed_however_quiet_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The open one of a kept partition was, after an hour without a record."""
    made, recorder, app = engine(next_offset=5)
    made.config = replace(made.config, stores=tmp_path, processor=lambda *_: recorder)
    made._stores = stores = Stores(tmp_path, "worker")
    kept = stores.open(0, Changelog(b"id", 0, 1), 0)
    stores.open(2, Changelog(b"id", 0, 1), 0).close()
    for file in (*(stores.directory / "0").iterdir(), *(stores.directory / "2").iterdir()):
        os.utime(file, (0, 0))
    made._kept = {0: OwnedPartition(recorder, 0, 5, kept)}  # type: ignore[arg-type]
    monkeypatch.setattr(app, "topic_id", AsyncMock(return_value=b"id"), raising=False)
    monkeypatch.setattr("streams.engine.engine.bounds", AsyncMock(return_value={1: (0, 1)}))
    with ExitStack() as undo:
        asyncio.run(made._targets(None, [1], undo))
    assert {each.name for each in stores.directory.iterdir()} == {"0", "1", "lock"}
    kept.write([(b"k", b"v")], 1, None, 0)
    kept.close()


def event(call_id: str, status: str) -> bytes:
    return msgspec.json.encode(
        {
            "id": call_id,
            "direction": "inbound",
            "from": "+12025550100",
            "to": "+442079460000",
            "status": status,
        }
    )
