"""Which contestants take part in a benchmark, and that a checkout's worker runs its own code."""

import sys
from pathlib import Path

import click
import pytest

from benchmarks.contestants import CONTESTANTS, Job, Login, chosen

JOB = Job("127.0.0.1:1", "group", "calls", "completed", commit_ms=25)


@pytest.mark.parametrize("has_python", [False, True])
def test_a_checkout_runs_its_own_code_on_its_own_python(tmp_path: Path, has_python: bool) -> None:
    (tmp_path / "streams").mkdir()
    own = tmp_path / ".venv" / "bin" / "python"
    if has_python:
        own.parent.mkdir(parents=True)
        own.write_text(f'#!/bin/sh\nprintf "on its own: " >&2\nexec {sys.executable} "$@"\n')
        own.chmod(0o755)
    (tmp_path / "streams" / "__main__.py").write_text(
        "import os, sys; sys.exit(f'this one, {os.environ[\"TELEFONIE_COMMIT_INTERVAL\"]}')"
    )
    found = chosen(["worker"], [f"other={tmp_path}"])
    assert list(found) == ["worker", "other"]
    with found["other"].start(JOB, tmp_path / "log") as process:
        process.wait(30)
    assert (tmp_path / "log").read_text() == ("on its own: " if has_python else "") + "this one, 25ms\n"


@pytest.mark.parametrize("given", ["/nowhere", "other=/nowhere", "other"])
def test_a_folder_that_is_no_checkout_is_refused(given: str) -> None:
    with pytest.raises(click.BadParameter, match="NAME=FOLDER"):
        chosen([], [given])


def test_an_unknown_contestant_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="worker_rocksdb"):
        chosen(["nobody"], [])


def test_kafka_streams_is_given_the_same_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(arguments: list[str], settings: dict[str, str]) -> list[str]:
        said.update(settings, arguments=" ".join(arguments))
        return ["true"]

    said: dict[str, str] = {}
    monkeypatch.setattr("benchmarks.peers.kafka_streams.command", command)
    job = Job("b:1", "group", "calls", "completed", login=Login("me", "hush", Path("/ca.pem")))
    with CONTESTANTS["kafka_streams_standby"].start(job) as process:
        process.wait(10)
    assert said["arguments"] == "b:1 group calls completed exactly_once"
    assert said["commit.interval.ms"] == "100"
    assert said["consumer.session.timeout.ms"] == "10000"
    assert said["num.standby.replicas"] == "1"
    assert said["ssl.truststore.location"] == "/ca.pem"
    assert 'username="me" password="hush"' in said["sasl.jaas.config"]
