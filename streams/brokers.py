"""Reaching the Kafka brokers: in bounded time, or with one line that says why not."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeVar

from aiokafka.errors import KafkaConnectionError

from streams.errors import OperatorError
from streams.settings import PREFIX, Settings

CONNECT_SECONDS = 10.0
"""How long a client may take to reach the brokers."""


class Unreachable(OperatorError):
    """No broker answered, or none let us in."""


class Client(Protocol):
    """What the clients of aiokafka have in common; they end with `stop()` or with `close()`."""

    async def start(self) -> None:
        """Reach the brokers."""


C = TypeVar("C", bound=Client)


@asynccontextmanager
async def connected(client: C, settings: Settings) -> AsyncIterator[C]:
    """The aiokafka client, started; stopped at the end. Raises Unreachable within `CONNECT_SECONDS`."""
    stop: Any = getattr(client, "stop", None) or getattr(client, "close")  # noqa: B009
    try:
        await _start(client, settings)
        yield client
    finally:
        await stop()


async def _start(client: Client, settings: Settings) -> None:
    where = f"no Kafka broker answers at {settings.brokers} ({PREFIX}BROKERS)"
    with _last_words() as words:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.start()
        except TimeoutError:
            raise Unreachable(f"{where} within {CONNECT_SECONDS:.0f}s") from None
        except KafkaConnectionError as error:
            raise Unreachable(f"{where}: {words[-1] if words else error}") from None


@contextmanager
def _last_words() -> Iterator[list[str]]:
    """What aiokafka logs meanwhile, instead of its log: the reason of a failure stands nowhere else."""
    logger, words = logging.getLogger("aiokafka"), list[str]()
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: words.append(_reason(record))  # type: ignore[method-assign]
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield words
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _reason(record: logging.LogRecord) -> str:
    # The last argument of its messages is the error; host and port come first and are in our line already.
    last = record.args[-1] if isinstance(record.args, tuple) and record.args else record.getMessage()
    return " ".join((str(last) or type(last).__name__).split())
