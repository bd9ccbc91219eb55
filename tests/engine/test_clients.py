"""Connections that are lost at moments at which aiokafka gives up."""

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from streams.engine import clients


class Flaky:
    """Cannot connect at first."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.client = self

    async def start(self) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise KafkaConnectionError("nobody there")

    async def coordinator_lookup(self, kind: int) -> int:
        await self.start()
        return kind


def test_a_client_is_started_as_soon_as_a_broker_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "RETRY_SECONDS", 0)
    flaky = Flaky(3)
    asyncio.run(clients.start(flaky))
    assert flaky.failures == -1


def test_a_coordinator_that_cannot_be_looked_up_now_is_looked_up_again() -> None:
    """An error that aiokafka's sender takes as a reason to ask again, not to give up."""
    flaky = Flaky(1)
    clients.look_up_patiently(flaky)
    with pytest.raises(NodeNotReadyError):
        asyncio.run(flaky.coordinator_lookup(1))
    assert asyncio.run(flaky.coordinator_lookup(1)) == 1
