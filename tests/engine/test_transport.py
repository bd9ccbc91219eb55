"""What the client's thread answers once it has ended: no Kafka needed."""

import asyncio
from unittest.mock import AsyncMock, Mock

import pytest
from aiokafka.errors import KafkaError

from streams.engine.transport import ConsumerThread, StoppedError


@pytest.mark.parametrize(("has_ended", "raised"), [(True, StoppedError), (False, RuntimeError)])
def test_a_client_that_has_stopped_says_so_as_one_that_cannot_reach_kafka(
    has_ended: bool, raised: type[Exception]
) -> None:
    """Whoever asks while the worker stops expects errors of Kafka, and no others."""
    thread = ConsumerThread.__new__(ConsumerThread)
    thread.thread_loop = asyncio.new_event_loop()
    thread._method_queue = Mock(call=AsyncMock(side_effect=RuntimeError("as of a closed loop")))
    if has_ended:
        thread.thread_loop.close()

    async def ask() -> None:
        thread.parent_loop = asyncio.get_running_loop()
        await thread.call_thread(AsyncMock())

    with pytest.raises(raised):
        asyncio.run(ask())
    thread.thread_loop.close()
    assert issubclass(StoppedError, KafkaError)
