"""Credentials as they are at each connection, and what its failures mean; with real brokers in tests/security."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiokafka import client
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed
from support.secured import Authority

from streams.kafka import credentials
from streams.kafka.credentials import client_options
from streams.settings import Settings


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What aiokafka's connections are made with from now on, instead of being made."""
    made: list[dict[str, Any]] = []

    async def create_conn(_host: str, _port: int, **options: Any) -> None:
        made.append(options)
        if options["sasl_plain_password"] == "wrong":
            raise SaslAuthenticationFailed("Authentication failed")
        if options["sasl_plain_password"] == "gone":
            raise ConnectionRefusedError

    monkeypatch.setattr(credentials, "create_conn", create_conn)
    return made


def connect(settings: Settings) -> None:
    """As every client of aiokafka does it."""
    options = client_options(settings)
    del options["bootstrap_servers"]
    asyncio.run(client.create_conn("a", 1, **options))


@pytest.fixture
def by_files(tmp_path: Path) -> Settings:
    """Settings whose secrets are files in `tmp_path`."""
    (tmp_path / "password").write_text("hush-1\n")
    (tmp_path / "ca.pem").write_bytes(Authority(tmp_path / "ca").cert.read_bytes())
    env = {
        "BROKERS": "a:1",
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "PLAIN",
        "SASL_USERNAME": "u",
        "SASL_PASSWORD_FILE": str(tmp_path / "password"),
        "SSL_CA_FILE": str(tmp_path / "ca.pem"),
    }
    return Settings.load({f"TELEFONIE_{name}": value for name, value in env.items()})


def test_each_connection_has_what_the_files_hold_then(
    connected: list[dict[str, Any]], by_files: Settings, tmp_path: Path
) -> None:
    connect(by_files)
    connect(by_files)
    (tmp_path / "password").write_text("hush-2\n")
    connect(by_files)
    (tmp_path / "ca.pem").write_bytes(Authority(tmp_path / "new").cert.read_bytes())
    connect(by_files)
    assert [each["sasl_plain_password"] for each in connected] == ["hush-1", "hush-1", "hush-2", "hush-2"]
    contexts = [each["ssl_context"] for each in connected]
    assert contexts[0] is contexts[1] is contexts[2], "nothing is created again without need"
    assert contexts[3].get_ca_certs() != contexts[2].get_ca_certs()
    assert "hush" not in repr(client_options(by_files)) + repr(by_files)


def test_tls_is_at_least_1_2_whatever_python_was_built_with(
    monkeypatch: pytest.MonkeyPatch, by_files: Settings
) -> None:
    def as_debian_builds_it(**_: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        return context

    monkeypatch.setattr(ssl, "create_default_context", as_debian_builds_it)
    monkeypatch.setattr(credentials, "_ssl_context", credentials._ssl_context.__wrapped__)
    assert client_options(by_files)["ssl_context"].now().minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_file_that_cannot_be_used_is_a_connection_that_failed(
    connected: list[dict[str, Any]], by_files: Settings, tmp_path: Path
) -> None:
    (tmp_path / "password").unlink()
    with pytest.raises(
        KafkaConnectionError, match="TELEFONIE_SASL_PASSWORD_FILE takes the path of a readable"
    ):
        connect(by_files)
    (tmp_path / "password").write_text("hush-3")
    (tmp_path / "ca.pem").write_text("-----BEGIN RUBBISH-----\n")
    with pytest.raises(KafkaConnectionError, match="TELEFONIE_SSL_CA cannot be used"):
        connect(by_files)
    assert connected == []


def test_a_refusal_says_what_it_means_and_other_failures_stay(
    connected: list[dict[str, Any]], by_files: Settings, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("wrong")
    with pytest.raises(
        KafkaConnectionError, match="the Kafka brokers refuse this user: look at TELEFONIE_SASL_USER"
    ):
        connect(by_files)
    (tmp_path / "password").write_text("gone")
    with pytest.raises(KafkaConnectionError, match="a:1: ConnectionRefusedError") as failed:
        connect(by_files)
    assert isinstance(failed.value.__cause__, ConnectionRefusedError)
    assert len(connected) == 2
