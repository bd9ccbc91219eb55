"""Who we are to the brokers, as it is at the moment of each connection: what is rotated needs no restart.

aiokafka takes a password and a TLS context once, for the life of a client. An option that is `Renewed` is asked for
its value by every connection that a client of this process makes.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from tempfile import TemporaryFile
from typing import Any

from aiokafka import client, errors
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError

from streams.engine.failures import unreached
from streams.errors import OperatorError
from streams.kafka.errors.codes import name_all
from streams.kafka.errors.meanings import SIGNS
from streams.settings import PREFIX, Settings, SettingsError


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for any aiokafka client: where the brokers are and how to talk to them.

    Credentials that were given as files are read again for each connection. SettingsError when no brokers are set or
    the certificates cannot be used.
    """
    servers, who = settings.addresses(), _credentials(settings)
    if settings.files:
        who = {name: Renewed(partial(_credential_now, settings, name)) for name in who}
    return {
        "bootstrap_servers": servers,
        "security_protocol": settings.security_protocol,
        # aiokafka wants a mechanism even where none is used.
        "sasl_mechanism": settings.sasl_mechanism or "PLAIN",
        **who,
    }


def _credential_now(settings: Settings, name: str) -> Any:
    return _credentials(settings.renewed())[name]


def _credentials(settings: Settings) -> dict[str, Any]:
    secured = "SSL" in settings.security_protocol
    certificates = settings.ssl_ca, settings.ssl_cert, settings.ssl_key
    return {
        "ssl_context": _ssl_context(*certificates) if secured else None,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": settings.sasl_password,
    }


class Renewed:
    """Stands for an option of aiokafka's: the value that `now()` returns."""

    def __init__(self, now: Callable[[], Any]) -> None:
        self.now = now


async def _create_conn(host: str, port: int, **options: Any) -> Any:
    """As aiokafka's; what keeps us out says where and what it means, in its log too.

    A file that cannot be used right now is a connection that failed, and is tried again. So is a broker that cannot
    prove to know our password: aiokafka raises ValueError then.
    """
    address = f"{host}:{port}"
    try:
        current = {
            name: option.now() if isinstance(option, Renewed) else option for name, option in options.items()
        }
        connection = await create_conn(host, port, **current)
    except OperatorError as error:
        raise KafkaConnectionError(str(error)) from error
    except (OSError, KafkaError, ValueError) as error:
        if (meaning := meaning_of(error)) is not None:
            raise KafkaConnectionError(f"the Kafka brokers {meaning}") from error
        if isinstance(error, OSError):
            # aiokafka knows brokers by numbers, and would name that alone.
            unreached[address] = why = _why(error)
            raise KafkaConnectionError(f"{address}: {why}") from error
        raise
    unreached.pop(address, None)
    return connection


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # asyncio's own text repeats the address
    return error.strerror or " ".join(str(error).split()) or type(error).__name__


client.create_conn = _create_conn
name_all(errors)


def causes(error: BaseException) -> list[BaseException]:
    """The error, and what has caused each."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def meaning_of(error: BaseException) -> str | None:
    """What the error of a connection means, said of brokers, with the setting to look at; None when not known."""
    said = " ".join(f"{type(each).__name__} {each}" for each in causes(error))
    return next((meaning for sign, meaning in SIGNS.items() if re.search(sign, said)), None)


# One entry is the certificates of now, the other one those before.
@lru_cache(maxsize=2)
def _ssl_context(ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    """A TLS context that trusts `ca` (None: what the system trusts) and shows `cert`; all are PEM texts.

    Host names are checked; TLS is 1.2 or later. Raises SettingsError.
    """
    try:
        context = ssl.create_default_context(cadata=ca)
    except ssl.SSLError as error:
        raise SettingsError(f"{PREFIX}SSL_CA cannot be used: {error}") from None
    # Python's own default, but Debian builds Python without it and leaves the version to the system's OpenSSL.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert and key:
        try:
            with _as_file(cert) as cert_file, _as_file(key) as key_file:
                # Without a password given, OpenSSL would ask the terminal for that of an encrypted key.
                context.load_cert_chain(cert_file, key_file, password="")
        except ssl.SSLError as error:
            raise SettingsError(f"{PREFIX}SSL_CERT with {PREFIX}SSL_KEY cannot be used: {error}") from None
    return context


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """A path with `text` behind it: OpenSSL takes certificates from files only.

    Where the system can, the file is in memory, so that no key touches a disk.
    """
    memory = getattr(os, "memfd_create", None)
    with os.fdopen(memory("pem"), "w+") if memory else TemporaryFile("w+") as file:
        file.write(text)
        file.seek(0)
        yield f"/dev/fd/{file.fileno()}"
