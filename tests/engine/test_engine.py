"""What the engine does with batches that do not follow on each other, and where it reads on: no Kafka needed."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from aiokafka import TopicPartition

from streams.engine.config import Config
from streams.engine.engine import Engine, Owned, _start
from streams.engine.fetch import RecordBatch, RecordsLostError
from streams.engine.processor import Record
from streams.engine.restore import Position

SOURCE = TopicPartition("in", 0)


class Recorder:
    """A processor that only notes offsets."""

    pending = 0

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def process(self, records: Iterable[Record], wall: int) -> None:  # noqa: ARG002
        self.offsets += [record[0] for record in records]


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
    made.partitions = {0: Owned(recorder, None, next_offset)}  # type: ignore[arg-type]
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
    assert _start(SOURCE, state, committed, 10, 100) == start


@pytest.mark.parametrize(
    ("position", "said"), [(7, "3 records were removed"), (101, "the topic was made anew")]
)
def test_an_offset_that_the_log_does_not_hold_is_refused(position: int, said: str) -> None:
    with pytest.raises(RecordsLostError, match=said):
        _start(SOURCE, Position(position, b""), position, 10, 100)


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
