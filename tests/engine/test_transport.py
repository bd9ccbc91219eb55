"""What keeps a worker out of the group, what does so for a while only, and what a client says once it has ended."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupAuthorizationFailedError, GroupLoadInProgressError, KafkaError
from faust.types import TP

from streams.engine.fetch import RecordBatch
from streams.engine.transport import Consumer, ConsumerThread, StoppedError, _by_topic


def thread(coordinator: object) -> ConsumerThread:
    """A thread that never runs; what its loop is given it does at once."""

    def at_once(work: Callable[..., None], *args: object) -> None:
        work(*args)

    made = ConsumerThread.__new__(ConsumerThread)
    made._consumer = SimpleNamespace(_coordinator=coordinator)
    made.thread_loop = SimpleNamespace(call_soon_threadsafe=at_once)  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    ("pending", "is_asked_again"),
    [
        # As aiokafka says of an answer to SyncGroup that it does not know.
        (KafkaError(repr(GroupLoadInProgressError())), True),
        (GroupLoadInProgressError(), True),
        (GroupAuthorizationFailedError("group"), False),
        (None, False),
    ],
)
def test_a_coordinator_that_is_loading_is_asked_again(
    pending: KafkaError | None, is_asked_again: bool
) -> None:
    async def go() -> None:
        noticed = asyncio.get_running_loop().create_future()
        coordinator = SimpleNamespace(
            _pending_exception=pending,
            _error_consumed_fut=noticed,
            _coordination_task=SimpleNamespace(done=lambda: False),
        )
        coordinator.check_errors = lambda: GroupCoordinator.check_errors(coordinator)
        assert thread(coordinator).refusal() is (None if is_asked_again else pending)
        assert noticed.done() == is_asked_again
        assert (coordinator._pending_exception is None) == (is_asked_again or pending is None)

    asyncio.run(go())


def test_nothing_keeps_out_who_has_not_begun() -> None:
    made = ConsumerThread.__new__(ConsumerThread)
    made._consumer = None
    assert made.refusal() is None


@pytest.mark.parametrize(("has_ended", "raised"), [(True, StoppedError), (False, RuntimeError)])
def test_a_client_that_has_stopped_says_so_as_one_that_cannot_reach_kafka(
    has_ended: bool, raised: type[Exception]
) -> None:
    """While the worker stops, callers expect errors of Kafka, and no others."""
    made = ConsumerThread.__new__(ConsumerThread)
    made.thread_loop = asyncio.new_event_loop()
    made._method_queue = Mock(call=AsyncMock(side_effect=RuntimeError("as of a closed loop")))
    if has_ended:
        made.thread_loop.close()

    async def ask() -> None:
        made.parent_loop = asyncio.get_running_loop()
        await made.call_thread(AsyncMock())

    with pytest.raises(raised):
        asyncio.run(ask())
    made.thread_loop.close()
    assert issubclass(StoppedError, KafkaError)


def batch(topic: str, number: int, after: int) -> RecordBatch:
    return RecordBatch(TopicPartition(topic, number), after - 1, after, [(after - 1, 0, None, b"", ())])


def test_what_a_fetch_has_brought_of_a_topic_is_one_message() -> None:
    """A message for each of hundreds of partitions, with a record or two, took half of the worker's time."""
    calls, internal = [batch("calls", 3, 7), batch("calls", 1, 9)], [batch("internal", 3, 5)]
    found = _by_topic([calls[0], *internal, calls[1]])
    assert found == {TP("calls", 3): [calls], TP("internal", 3): [internal]}
    made = Consumer.__new__(Consumer)
    made.app = Mock(consumer_generation_id=4)
    message = made._to_message(TP("calls", 3), calls)
    assert (message.tp, message.offset, message.value) == (TP("calls", 3), 6, calls), (
        "offsets grow for a partition"
    )
