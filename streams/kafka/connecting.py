"""Connecting to the Kafka brokers in bounded time, or with one line that says why not."""

import asyncio
import logging
from asyncio import IncompleteReadError
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from ssl import SSLError
from typing import Any, Protocol, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IllegalSaslStateError, KafkaConnectionError

from streams.errors import OperatorError
from streams.kafka.credentials import causes, client_options, meaning_of
from streams.settings import PREFIX, Settings

CONNECT_SECONDS = 10.0
"""How long a client may take to reach the brokers."""

# What happens if only one side uses TLS or a login, or if brokers are shutting down.
_HANGS_UP = (IllegalSaslStateError, SSLError, IncompleteReadError, ConnectionResetError)


class Unreachable(OperatorError):
    """No broker answered, or none accepted the login."""


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


@asynccontextmanager
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that asks and changes what the brokers know; closed at the end. Raises as `connected`."""
    client = AIOKafkaAdminClient(request_timeout_ms=int(CONNECT_SECONDS * 1000), **client_options(settings))
    async with connected(client, settings):
        yield client


async def _start(client: Client, settings: Settings) -> None:
    with _last_words() as words:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.start()
        except TimeoutError:
            raise Unreachable(_silence(settings, f"within {CONNECT_SECONDS:.0f} s")) from None
        except KafkaConnectionError as error:
            raise Unreachable(explained(words[-1] if words else error, settings)) from None


def explained(error: BaseException, settings: Settings) -> str:
    """Why a connection failed, in one line that names the setting to check, without secrets."""
    if (meaning := meaning_of(error)) is not None:
        return f"the Kafka brokers at {settings.brokers} {meaning}"
    cause = causes(error)[-1]
    if isinstance(cause, OperatorError):
        return str(cause)
    if isinstance(cause, _HANGS_UP):
        return (
            f"the Kafka brokers at {settings.brokers} close the connection: {PREFIX}SECURITY_PROTOCOL "
            "has to be what they speak at that port"
        )
    return _silence(settings, " ".join(f"{type(cause).__name__} {cause}".split()))


def _silence(settings: Settings, reason: str) -> str:
    return f"no Kafka broker answers at {settings.brokers} ({PREFIX}BROKERS): {reason}"


@contextmanager
def _last_words() -> Iterator[list[BaseException]]:
    """Collects the errors that aiokafka logs meanwhile, instead of logging them: the reason of a failure is nowhere
    else."""
    logger, words = logging.getLogger("aiokafka"), list[BaseException]()
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: words.extend(_errors(record))  # type: ignore[method-assign]
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield words
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _errors(record: logging.LogRecord) -> Iterator[BaseException]:
    arguments = record.args if isinstance(record.args, tuple) else ()
    yield from (each for each in arguments if isinstance(each, BaseException))
