"""`telefonie calls`, asked of real workers: each knows its own calls, and none speaks of what it has lost."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.kafka import Record, produce
from support.worker import Setup, Worker, wait_for

from streams.cli import main

pytestmark = pytest.mark.kafka

NOW = int(time.time() * 1000)
PHONE = "+12125550123"


def event(call_id: str, status: str, partition: int, ago: int = 0) -> Record:
    call = {"id": call_id, "status": status, "direction": "outbound", "from": PHONE, "to": "+4915123456789"}
    return Record(json.dumps(call).encode(), call_id.encode(), NOW - ago * 1000, (), partition)


def url(worker: Worker) -> str:
    found = re.search(r"HTTP is at (\S+)", worker.said())
    assert found
    return found[1]


def last(worker: Worker) -> list[int]:
    """The partitions that it has."""
    return (worker.assignments() or [[]])[-1]


def ask(*args: str, **env: str) -> Result:
    given = {f"TELEFONIE_{name}": value for name, value in env.items()}
    return CliRunner().invoke(main, ["calls", *args], env=given)


@pytest.fixture
def setup(kafka: str) -> Setup:
    made = Setup(kafka, partitions=2, settings={"SESSION_TIMEOUT": "6s"})
    made.create()
    produce(
        kafka,
        made.calls,
        [
            event("stuck", "queued", 0, ago=7200),
            event("stuck", "in-progress", 0, ago=7100),
            event("fresh", "ringing", 1, ago=5),
            event("over", "queued", 1, ago=4),
            event("over", "busy", 1, ago=3),
        ],
    )
    return made


def test_get_and_open_on_one_worker(setup: Setup, tmp_path: Path) -> None:
    with Worker(setup, tmp_path / "log") as worker:
        wait_for("everything is committed", lambda: setup.committed() >= 5)
        here = ("--url", url(worker))
        found = json.loads(ask("get", "stuck", "--json", *here).stdout)
        assert (found["open"], found["status"], set(found["timeline"])) == (
            True,
            "in-progress",
            {"queued", "in-progress"},
        )
        assert "timeline.busy" in ask("get", "over", HTTP_PORT=here[1].rpartition(":")[2]).stdout
        unknown = ask("get", "nobody", *here)
        assert (unknown.exit_code, unknown.stderr.count("\n")) == (1, 1)
        assert "telefonie completed get" in unknown.stderr
        rows = ask("open", *here)
        assert [row.split("\t")[0] for row in rows.stdout.splitlines()] == ["stuck", "fresh"]
        assert (PHONE in rows.stdout, rows.stderr) == (False, "")
        aged = ask("open", "--older-than", "1h", "--country", "DE", "--json", *here).stdout.splitlines()
        assert [json.loads(line)["id"] for line in aged] == ["stuck"]
        assert ask("open", "--limit", "1", *here).stderr == "the oldest 1 of 2\n"


def test_a_token_is_sent_along(setup: Setup, tmp_path: Path) -> None:
    with Worker(setup, tmp_path / "log", env={"API_TOKEN": "right"}) as worker:
        wait_for("everything is committed", lambda: setup.committed() >= 5)
        assert ask("open", "--url", url(worker), API_TOKEN="right").exit_code == 0
        for env in ({}, {"API_TOKEN": "wrong"}):
            refused = ask("open", "--url", url(worker), **env)
            assert (refused.exit_code, refused.stdout) == (1, "")
            assert "answers 401: it takes the bearer token" in refused.stderr


def test_no_worker_is_one_line() -> None:
    for address in ("http://127.0.0.1:1", "ftp://127.0.0.1", "http://127.0.0.1:x"):
        result = ask("open", "--url", address)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)


def test_workers_share_the_calls_and_a_paused_one_does_not_speak_of_what_it_lost(
    setup: Setup, tmp_path: Path
) -> None:
    with Worker(setup, tmp_path / "one") as one, Worker(setup, tmp_path / "two") as two:
        wait_for("each has one partition", lambda: sorted(map(last, (one, two))) == [[0], [1]])
        wait_for("everything is committed", lambda: setup.committed() >= 5)
        wait_for("both are ready", lambda: one.get("/ready") == two.get("/ready") == 200)
        both = ("--url", url(one), "--url", url(two))
        assert len(ask("open", *both).stdout.splitlines()) == 2
        assert {ask("get", name, *both).exit_code for name in ("stuck", "fresh", "over")} == {0}
        assert "are held by workers that were not asked" in ask("open", "--url", url(one)).stderr
        name = "stuck" if last(one) == [0] else "fresh"
        elsewhere = ask("get", name, "--url", url(two))
        assert (elsewhere.exit_code, "give their --url" in elsewhere.stderr) == (1, True)
        one.signal(signal.SIGSTOP)
        wait_for("the other has taken over", lambda: last(two) == [0, 1] and two.get("/ready") == 200)
        assert ask("get", name, "--url", url(two)).exit_code == 0
        one.signal(signal.SIGCONT)
        said = ask("get", name, "--url", url(one))
        assert (said.exit_code, said.stdout) == (1, "")
        assert "answers 503: " in said.stderr
