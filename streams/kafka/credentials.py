"""Credentials for the brokers, read at the moment of each connection, so that rotating them needs no restart.

aiokafka takes a password and a TLS context once, for the life of a client. An option that is `Renewed` is evaluated
again for every connection that a client of this process makes.
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

    Credentials that were given as files are read again for each connection. Raises SettingsError if no brokers are set,
    or the certificates cannot be used.
    """
    servers, who = settings.addresses(), _credentials(settings)
    if settings.files:
        who = {name: Renewed(partial(_credential_now, settings, name)) for name in who}
    return {
        "bootstrap_servers": servers,
        "security_protocol": settings.security_protocol,
        # aiokafka requires a mechanism even if none is used.
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
    """Stands for an aiokafka option: the value that `now()` returns."""

    def __init__(self, now: Callable[[], Any]) -> None:
        self.now = now


async def _create_conn(host: str, port: int, **options: Any) -> Any:
    """Like aiokafka's; but an error says which address it is about and what it means, also in aiokafka's log.

    A file that cannot be used at the moment counts as a failed connection, and is retried. So does a broker that cannot
    prove that it knows the password, for which aiokafka raises ValueError.
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
            # aiokafka knows brokers by number, and would name only that.
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
    """What the error of a connection means, as a statement about the brokers, with the setting to check; None if
    unknown."""
    said = " ".join(f"{type(each).__name__} {each}" for each in causes(error))
    return next((meaning for sign, meaning in SIGNS.items() if re.search(sign, said)), None)


# One entry is for the current certificates, the other one for the previous ones.
@lru_cache(maxsize=2)
def _ssl_context(ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    """A TLS context that trusts `ca` (None: what the system trusts) and presents `cert`; all are PEM texts.

    Host names are checked; TLS is 1.2 or later. Raises SettingsError.
    """
    try:
        context = ssl.create_default_context(cadata=ca)
    except ssl.SSLError as error:
        raise SettingsError(f"{PREFIX}SSL_CA cannot be used: {error}") from None
    # This is Python's default, but Debian builds Python without it and leaves the version to the system's OpenSSL.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert and key:
        try:
            with _as_file(cert) as cert_file, _as_file(key) as key_file:
                # Without a password, OpenSSL would ask for that of an encrypted key on the terminal.
                context.load_cert_chain(cert_file, key_file, password="")
        except ssl.SSLError as error:
            raise SettingsError(f"{PREFIX}SSL_CERT with {PREFIX}SSL_KEY cannot be used: {error}") from None
    return context


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """The path of a file that contains `text`:

    OpenSSL takes certificates only from files. If the system supports it, the file is in memory, so that no key touches
    a disk.
    """
    memory = getattr(os, "memfd_create", None)
    with os.fdopen(memory("pem"), "w+") if memory else TemporaryFile("w+") as file:
        file.write(text)
        file.seek(0)
        yield f"/dev/fd/{file.fileno()}"
