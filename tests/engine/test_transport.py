"""What keeps a worker out of the group, and what does so for a while only."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupAuthorizationFailedError, GroupLoadInProgressError, KafkaError

from streams.engine.transport import ConsumerThread


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
