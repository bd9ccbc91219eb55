"""Secrets stay secret: in logs of every format and level, in tracebacks, in the output of commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.inject import raise_on
from support.kafka import Record, produce, read_topic
from support.load import simulated
from support.secured import Rule, Secured, login
from support.worker import Setup, Worker, wait_until_done

from streams.cli import main

TOKEN = "hush-token-1234"
PHONE = "+12125550123"


CRASH = """
from streams.engine.writer import Writer
_write = Writer.write

async def _crash(self, shares):
    if "crash-1" in repr(shares):
        raise ZeroDivisionError("crashed")
    return await _write(self, shares)

Writer.write = _crash
"""


def call(call_id: str, **more: str) -> Record:
    document = {
        "id": call_id, "status": "completed", "direction": "outbound", "from": PHONE, "to": PHONE,
        "url": "https://example.com/hush-url",
    }  # fmt: skip
    return Record(json.dumps({**document, **more}).encode(), call_id.encode())


@pytest.mark.kafka
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_a_worker_prints(secured: Secured, tmp_path: Path, log_format: str) -> None:
    """At the level debug, with records that are rejected, one that the code raises on, and an end by a bug."""
    given = {
        **secured.settings("SASL_SSL", **secured.shown("client"), **login("worker")),
        "API_TOKEN": TOKEN, "LOG_LEVEL": "debug", "LOG_FORMAT": log_format,
    }  # fmt: skip
    setup = Setup(secured.brokers, partitions=1, settings=given)
    setup.create()
    secured.allow("worker", *(Rule(kind, "*", ("All",)) for kind in ("topic", "group", "transactional-id")))
    rejected = Record(b'{"from": "' + PHONE.encode() + b'"}', PHONE.encode())
    produce(
        secured.brokers,
        setup.calls,
        [rejected, call("poison-1", price="hush"), call("good-1"), *simulated(9, 1)],
    )
    before = raise_on("streams.calls.partition", "begin", "poison-1") + CRASH
    with Worker(setup, tmp_path / "log", before=before) as worker:
        wait_until_done(setup)
        produce(secured.brokers, setup.calls, [call("crash-1")])
        assert worker.ends(90) == 1
        said = worker.said()
    reasons = [dict(each.headers)["dead-reason"] for each in read_topic(secured.brokers, setup.topic("dead"))]
    assert {b"schema", b"failed"} <= set(reasons)
    assert "ZeroDivisionError: injected" in said
    assert "ZeroDivisionError: crashed" in said
    key = secured.identities["client"].key.read_text().splitlines()[1:-1]
    assert not [secret for secret in (TOKEN, "hush", "PRIVATE KEY", PHONE, PHONE[2:], *key) if secret in said]


@pytest.mark.parametrize("command", [["settings"], ["settings", "--json"], ["settings", "--markdown"]])
def test_what_the_settings_print(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("-----BEGIN PRIVATE KEY-----\nhush-key\n-----END PRIVATE KEY-----\n")
    given = {
        "API_TOKEN": TOKEN, "SECURITY_PROTOCOL": "SASL_SSL", **login("worker"),
        "SSL_CERT": "-----BEGIN CERTIFICATE-----", "SSL_KEY_FILE": str(tmp_path / "key"),
    }  # fmt: skip
    result = CliRunner().invoke(
        main, command, env={f"TELEFONIE_{name}": value for name, value in given.items()}
    )
    assert result.exit_code == 0
    assert "hush" not in result.output
    if "--markdown" not in command:
        assert result.output.count("(hidden)") == 3
