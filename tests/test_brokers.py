"""Reaching real brokers over TLS and SASL, and saying why they cannot be reached."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams import topics
from streams.brokers import Unreachable
from streams.embedded import Cluster
from streams.settings import Settings

LOGIN = {"SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "app", "SASL_PASSWORD": "hush-1"}


def openssl(*args: object) -> None:
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem and, signed by it, broker.pem, client.pem and client.key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl(
        "req", "-x509", *key, "-subj", "/CN=test ca", "-keyout", folder / "ca.key", "-out", folder / "ca.pem"
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for name in ("broker", "client"):
        request, private, cert = (folder / f"{name}.{end}" for end in ("csr", "key", "crt"))
        openssl("req", "-new", *key, "-subj", f"/CN={name}", "-keyout", private, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
                "-CAcreateserial", "-extfile", folder / "names", "-out", cert)  # fmt: skip
    chain = [(folder / name).read_text() for name in ("broker.key", "broker.crt", "ca.pem")]
    (folder / "broker.pem").write_text("".join(chain))
    return folder


@pytest.fixture(scope="module")
def secured(tls: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A broker with mutual TLS, and with user and password, over TLS and without."""
    login = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_app="hush-1";'
    properties = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(tls / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(tls / "ca.pem"),
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": login,
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": login,
    }
    listeners = ("SSL", "SASL_SSL", "SASL_PLAINTEXT")
    with Cluster(tmp_path_factory.mktemp("kafka"), listeners=listeners, settings=properties) as cluster:
        yield cluster


@pytest.fixture
def reach(secured: Cluster, tls: Path) -> Callable[..., str]:
    """`reach(protocol, …)`: what is said of the calls topic over it; raises what the commands would print."""

    def ask(protocol: str, **values: str) -> str:
        if "SSL" in protocol:
            values = {"SSL_CA_FILE": str(tls / "ca.pem"), **values}
        given = {"BROKERS": secured.bootstrap(protocol), "SECURITY_PROTOCOL": protocol, **values}
        settings = Settings.load({f"TELEFONIE_{name}": value for name, value in given.items()})
        return asyncio.run(topics.check(settings))[0].message

    return ask


@pytest.mark.kafka
@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_user_and_password(reach: Callable[..., str], protocol: str) -> None:
    assert "is missing" in reach(protocol, **LOGIN)
    with pytest.raises(Unreachable, match="AuthenticationFailed") as caught:
        reach(protocol, **{**LOGIN, "SASL_PASSWORD": "hush-2"})
    assert "hush" not in str(caught.value)


@pytest.mark.kafka
def test_mutual_tls(reach: Callable[..., str], tls: Path) -> None:
    ours = {"SSL_CERT_FILE": str(tls / "client.crt"), "SSL_KEY_FILE": str(tls / "client.key")}
    assert "is missing" in reach("SSL", **ours)
    with pytest.raises(Unreachable):
        reach("SSL")


@pytest.mark.kafka
def test_a_broker_that_is_not_trusted(reach: Callable[..., str], tls: Path) -> None:
    with pytest.raises(Unreachable, match="certificate verify failed"):
        reach("SASL_SSL", SSL_CA_FILE=str(tls / "client.crt"), **LOGIN)


@pytest.mark.kafka
def test_a_silent_broker_is_given_up_in_time(own_broker: Callable[..., Cluster]) -> None:
    cluster = own_broker()
    settings = Settings(brokers=cluster.bootstrap())
    cluster.brokers[0].pause()
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="no Kafka broker answers at"):
        asyncio.run(topics.check(settings))
    assert time.monotonic() - begun < 15
