"""Every way to log in, and every way to fail: one line that names the setting, exit code 1, no secret."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from click.testing import CliRunner, Result
from support.kafka import create_topics
from support.secured import Rule, Secured, login
from support.worker import Setup, Worker

from streams.cli import main
from streams.kafka.reading import reader
from streams.settings import Settings

pytestmark = pytest.mark.kafka

#: The commands that talk to the brokers; a `worker` is a process of its own, below.
COMMANDS = {
    "topics check": ("topics", "check"),
    "topics create": ("topics", "create"),
    "status": ("status",),
    "dead list": ("dead", "list"),
    "dead show": ("dead", "show", "0:0"),
    "dead redrive": ("dead", "redrive", "--all"),
    "completed get": ("completed", "get", "x"),
    "completed tail": ("completed", "tail"),
    "replay": ("replay", "--compare"),
    "run": ("run",),
    "simulate": ("simulate", "--calls", "1", "--rate", "0"),
}


def run(settings: dict[str, str], *command: str) -> Result:
    env = {f"TELEFONIE_{name}": value for name, value in settings.items()}
    return CliRunner().invoke(main, command, env=env)


Given = Callable[[Secured], dict[str, str]]
GOOD: dict[str, Given] = {
    "PLAIN": lambda s: s.settings("SASL_PLAINTEXT", **login("app", "hush-plain", "PLAIN")),
    "PLAIN over TLS": lambda s: s.settings("SASL_SSL", **login("app", "hush-plain", "PLAIN")),
    "SCRAM-SHA-256": lambda s: s.settings("SASL_PLAINTEXT", **login("worker", None, "SCRAM-SHA-256")),
    "SCRAM-SHA-512 over TLS": lambda s: s.settings("SASL_SSL", **login("worker")),
    "mutual TLS": lambda s: s.settings("SSL", **s.shown("client")),
}
BAD: dict[str, tuple[Given, str]] = {
    "wrong password": (lambda s: s.settings("SASL_SSL", **login("worker", "hush-wrong")), "SASL_PASSWORD"),
    "wrong password, PLAIN": (
        lambda s: s.settings("SASL_PLAINTEXT", **login("app", "hush-wrong", "PLAIN")),
        "SASL_PASSWORD",
    ),
    "unknown user": (lambda s: s.settings("SASL_SSL", **login("stranger", "hush-no")), "SASL_USERNAME"),
    "wrong mechanism": (lambda s: s.settings("SASL_SSL", **login("worker", None, "PLAIN")), "SASL_MECHANISM"),
    "no password": (
        lambda s: s.settings("SASL_SSL", SASL_MECHANISM="PLAIN", SASL_USERNAME="app"),
        "SASL_PASSWORD is missing",
    ),
    "the system's authorities": (
        lambda s: (
            {**s.settings("PLAINTEXT"), **s.settings("SASL_PLAINTEXT"), "BROKERS": s.addresses["SASL_SSL"]}
            | {"SECURITY_PROTOCOL": "SASL_SSL"}
            | login("worker")
        ),
        "SSL_CA",
    ),
    "another authority": (
        lambda s: s.settings("SASL_SSL", **login("worker")) | {"SSL_CA_FILE": str(s.stranger.cert)},
        "SSL_CA",
    ),
    "an expired broker": (lambda s: s.settings("EXPIRED", "SSL"), "expired"),
    "a broker of another name": (lambda s: s.settings("ELSEWHERE", "SSL"), "names in TELEFONIE_BROKERS"),
    "no client certificate": (lambda s: s.settings("SSL"), "SSL_CERT"),
    "an expired client certificate": (lambda s: s.settings("SSL", **s.shown("expired")), "SSL_CERT"),
    "a stranger's client certificate": (lambda s: s.settings("SSL", **s.shown("stranger")), "SSL_CERT"),
    "a key of another certificate": (
        lambda s: s.settings("SSL", **s.shown("client") | {"SSL_KEY_FILE": str(s.identities["expired"].key)}),
        "SSL_KEY cannot be used",
    ),
    "no TLS where there is": (lambda s: s.settings("SSL", "PLAINTEXT"), "SECURITY_PROTOCOL"),
    "TLS where there is none": (lambda s: s.settings("PLAINTEXT", "SSL"), "SECURITY_PROTOCOL"),
    "no password where one is asked": (
        lambda s: s.settings("SASL_PLAINTEXT", "PLAINTEXT"),
        "SECURITY_PROTOCOL",
    ),
    "a password where none is asked": (
        lambda s: s.settings("PLAINTEXT", "SASL_PLAINTEXT", **login("worker")),
        "SECURITY_PROTOCOL",
    ),
    "no TLS where there is, with a password": (
        lambda s: s.settings("SASL_SSL", "SASL_PLAINTEXT", **login("worker")),
        "SECURITY_PROTOCOL",
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_let_in(secured: Secured, name: str) -> None:
    result = run(GOOD[name](secured), "topics", "check")
    assert "is missing: run `telefonie topics create`" in result.output


def refused(result: Result, begun: float) -> str:
    """The one line that was said."""
    assert time.monotonic() - begun < 30
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("error: ")
    for secret in ("hush", "BEGIN", "Traceback"):
        assert secret not in result.stderr
    return result.stderr


@pytest.mark.parametrize("name", BAD)
def test_not_let_in(secured: Secured, name: str) -> None:
    given, named = BAD[name]
    begun = time.monotonic()
    assert named in refused(run(given(secured), "topics", "check"), begun)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["wrong password", "an expired client certificate"])
def test_no_command_is_let_in(secured: Secured, tmp_path: Path, command: str, name: str) -> None:
    given, named = BAD[name]
    begun = time.monotonic()
    assert named in refused(run(given(secured) | {"DATA_DIR": str(tmp_path)}, *COMMANDS[command]), begun)


@pytest.mark.parametrize("name", ["wrong password", "another authority", "an expired client certificate"])
def test_no_worker_is_let_in(secured: Secured, tmp_path: Path, name: str) -> None:
    given, named = BAD[name]
    setup = Setup("", settings=given(secured))
    with Worker(setup, tmp_path / "log") as worker:
        assert worker.ends(60) == 1
        said = worker.said()
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    assert named in said
    assert "hush" not in said


@pytest.mark.timeout(60)
def test_a_reader_ends_at_once_also_while_the_broker_waits_for_records(
    secured: Secured, topic_name: str
) -> None:
    """The broker closes its side of the connection only afterwards: restoring a partition would take as much longer."""
    create_topics(secured.brokers, topic_name)
    settings = Settings.load(
        {
            f"TELEFONIE_{name}": value
            for name, value in secured.settings("SASL_SSL", **login("looker")).items()
        }
    )

    async def seconds() -> float:
        async with reader(settings, fetch_max_wait_ms=30_000) as consumer:
            partition = TopicPartition(topic_name, 0)
            consumer.assign([partition])
            consumer.seek(partition, 0)
            await asyncio.sleep(1)  # its fetch has been sent by now
            begun = time.monotonic()
        return time.monotonic() - begun

    secured.allow("looker", Rule("topic", topic_name, ("Read", "Describe")))
    assert asyncio.run(seconds()) < 10
