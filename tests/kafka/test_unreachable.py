"""Connecting to brokers, and saying why that fails; the errors of real brokers are in tests/security."""

import asyncio
import ssl
import time
from collections.abc import Callable

import pytest
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

from streams.embedded import Cluster
from streams.errors import OperatorError
from streams.kafka import topics
from streams.kafka.connecting import Unreachable, explained
from streams.settings import Settings


def caused(cause: BaseException) -> KafkaConnectionError:
    error = KafkaConnectionError("Connection at 127.0.0.1:9092 closed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            SaslAuthenticationFailed("no"),
            "the Kafka brokers at a:1 refuse this user: look at TELEFONIE_SASL_USERNAME",
        ),
        (
            caused(ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] x")),
            "ask for a client certificate",
        ),
        (
            caused(ssl.SSLError(1, "[SSL: SSLV3_ALERT_CERTIFICATE_EXPIRED] x")),
            "certificate in TELEFONIE_SSL_CERT",
        ),
        (caused(ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] x")), "certificate in TELEFONIE_SSL_CERT"),
        (caused(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] x")), "TELEFONIE_SECURITY_PROTOCOL"),
        (caused(ValueError("Server sent wrong signature!")), "are not who they claim to be"),
        (caused(OperatorError("TELEFONIE_SASL_PASSWORD_FILE takes…")), "TELEFONIE_SASL_PASSWORD_FILE takes…"),
        (
            ConnectionRefusedError(111, "Connect call failed"),
            "no Kafka broker answers at a:1 (TELEFONIE_BROKERS): ",
        ),
        (TimeoutError(), "no Kafka broker answers at a:1 (TELEFONIE_BROKERS): TimeoutError"),
    ],
)
def test_what_an_error_means(error: BaseException, said: str) -> None:
    assert said in explained(error, Settings(brokers="a:1"))


@pytest.mark.kafka
def test_a_silent_broker_is_given_up_in_time(own_broker: Callable[..., Cluster]) -> None:
    cluster = own_broker()
    settings = Settings(brokers=cluster.bootstrap())
    cluster.brokers[0].pause()
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="no Kafka broker answers at"):
        asyncio.run(topics.check(settings))
    assert time.monotonic() - begun < 15
