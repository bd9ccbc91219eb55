"""`telefonie calls` with real workers: each of them reports all calls, and none denies a call that exists."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.kafka import Record, produce
from support.worker import Setup, Worker, wait_for

from streams.cli import main
from streams.worker.web.calls import partition_of

pytestmark = pytest.mark.kafka

NOW = int(time.time() * 1000)
PHONE = "+12125550123"


def event(call_id: str, status: str, partition: int | None, ago: int = 0) -> Record:
    call = {"id": call_id, "status": status, "direction": "outbound", "from": PHONE, "to": "+4915123456789"}
    return Record(json.dumps(call).encode(), call_id.encode(), NOW - ago * 1000, (), partition)


def last(worker: Worker) -> list[int]:
    """The partitions that it has."""
    return (worker.assignments() or [[]])[-1]


def ask(*args: str, **env: str) -> Result:
    given = {f"TELEFONIE_{name}": value for name, value in env.items()}
    return CliRunner().invoke(main, ["calls", *args], env=given)


def get(worker: Worker, path: str) -> tuple[int, dict[str, Any], str | None]:
    """Status, document and Retry-After; without a token."""
    try:
        with urllib.request.urlopen(worker.url + path, timeout=20) as answer:
            return answer.status, json.load(answer), None
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers["Retry-After"]


def first_look(worker: Worker) -> dict[str, Any]:
    """What the live page shows first."""
    with urllib.request.urlopen(worker.url + "/events", timeout=20) as stream:
        lines = [stream.readline() for _ in range(4)]
    found: dict[str, Any] = json.loads(lines[3].removeprefix(b"data: "))
    return found


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
            Record(b"{" + PHONE.encode(), PHONE.encode(), NOW, (), 1),
        ],
    )
    return made


def test_get_and_open_on_one_worker(setup: Setup, tmp_path: Path) -> None:
    with Worker(setup, tmp_path / "log") as worker:
        wait_for("everything is committed", lambda: setup.committed() >= 6)
        here = ("--url", worker.url)
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
        odd = ask("get", "two\nlines", *here)
        assert odd.stderr == unknown.stderr
        aged = ask("open", "--older-than", "1h", "--country", "DE", "--json", *here).stdout.splitlines()
        assert [json.loads(line)["id"] for line in aged] == ["stuck"]
        assert ask("open", "--limit", "1", *here).stderr == "the oldest 1 of 2\n"
        look = first_look(worker)
        assert (look["open"], look["closed"]) == ({"in-progress": 1, "ringing": 1}, {"busy": 1})
        assert (look["rejected"], look["oldest_open"]) == ({"malformed": 1}, NOW - 7_200_000)
        assert [(each["partition"], each["offset"]) for each in look["dead"]] == [(1, 3)]
        assert [(each["attempts"], each["busy"]) for each in look["windows"]] == [(1, 1)]
        assert [(part["read"], part["end"], part["worker"]) for part in look["partitions"]] == [
            (2, 2, here[1]),
            (4, 4, here[1]),
        ]
        assert [call["id"] for call in look["longest"]] == ["stuck", "fresh"]
        assert PHONE not in json.dumps(look) + json.dumps(get(worker, "/status"))


def test_a_token_is_sent_along(setup: Setup, tmp_path: Path) -> None:
    with Worker(setup, tmp_path / "log", env={"API_TOKEN": "right"}) as worker:
        wait_for("everything is committed", lambda: setup.committed() >= 6)
        assert ask("open", "--url", worker.url, API_TOKEN="right").exit_code == 0
        for env in ({}, {"API_TOKEN": "wrong"}):
            refused = ask("open", "--url", worker.url, **env)
            assert (refused.exit_code, refused.stdout) == (1, "")
            assert "answers 401: it takes the bearer token" in refused.stderr


def test_no_worker_is_one_line() -> None:
    for address in ("http://127.0.0.1:1", "ftp://127.0.0.1", "http://127.0.0.1:x"):
        result = ask("open", "--url", address)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)


def ask_until_found(worker: Worker, names: Iterable[str]) -> set[str]:
    """Ask for calls that there are until each is found: what is said meanwhile, never that there is no such call."""
    said = set()
    give_up = time.monotonic() + 60
    for name in names:
        while (answer := get(worker, f"/calls/{name}"))[0] != 200:
            assert (answer[0], answer[2]) == (503, "2"), (name, answer)
            said.add(answer[1]["detail"])
            assert time.monotonic() < give_up, answer
        assert answer[1]["id"] == name
    return said


def all_ready(*workers: Worker) -> None:
    """Wait until the partitions are shared."""
    wanted = [[n] for n in range(len(workers))]
    wait_for("each has a partition", lambda: sorted(map(last, workers)) == wanted)
    wait_for("all are ready", lambda: {each.get("/ready") for each in workers} == {200})


def test_any_worker_tells_of_any_call(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=3, settings={"API_TOKEN": "right"})
    setup.create()
    names = [f"call-{n}" for n in range(12)]
    produce(kafka, setup.calls, [event(name, "ringing", None) for name in names])
    env = {"API_TOKEN": "right", "BROKERS": kafka, "APP_ID": setup.group}
    with ExitStack() as running:
        workers = [running.enter_context(Worker(setup, tmp_path / f"{n}")) for n in range(3)]
        all_ready(*workers)
        wait_for("everything is committed", lambda: setup.committed() >= 12)
        for worker in workers:
            for name in names[:4]:
                found = ask("get", name, "--json", "--url", worker.url, **env)
                assert json.loads(found.stdout)["source"]["partition"] == partition_of(name, 3)
            rows = ask("open", "--url", worker.url, **env)
            assert sorted(row.split("\t")[0] for row in rows.stdout.splitlines()) == sorted(names)
            assert (rows.exit_code, rows.stderr) == (0, "")
            assert len(get(worker, "/status")[1]["others"]) == 2
        # Nothing listens where the settings point to: the group says where its workers are.
        assert ask("get", names[5], HTTP_PORT="1", **env).exit_code == 0
        assert "no such call is open" in ask("get", "nobody", HTTP_PORT="1", **env).stderr
        refused = ask("get", names[5], HTTP_PORT="1", **env | {"API_TOKEN": "wrong"})
        assert "answers 401" in refused.stderr
    gone = ask("get", names[5], HTTP_PORT="1", **env)
    assert (gone.exit_code, gone.stdout, gone.stderr.count("\n")) == (1, "", 1)


@pytest.mark.parametrize(
    "fault",
    [signal.SIGSTOP, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)],
    ids=lambda fault: fault.name,
)
def test_no_call_is_denied_while_its_worker_is_silent_and_its_partition_moves(
    setup: Setup, tmp_path: Path, fault: signal.Signals
) -> None:
    with Worker(setup, tmp_path / "one") as one, Worker(setup, tmp_path / "two") as two:
        wait_for("everything is committed", lambda: setup.committed() >= 6)
        all_ready(one, two)
        names = ["stuck", "fresh", "over"]
        assert ask_until_found(two, names) == set()
        here = "stuck" if last(two) == [0] else "fresh"
        one.signal(fault)
        if fault == signal.SIGKILL:  # a paused one takes its time not to answer
            listed = ask("open", "--url", two.url)
            assert (listed.exit_code, listed.stdout.split("\t")[0]) == (1, here)
            assert f"of the partitions {last(two)} only" in listed.stderr
        said = ask_until_found(two, names)
        assert any(f"{one.url} does not answer" in each for each in said), said
        assert last(two) == [0, 1]
        if fault == signal.SIGSTOP:
            one.signal(signal.SIGCONT)
            ask_until_found(one, names)


def test_a_worker_of_the_same_name_tells_its_new_address_though_no_partition_moves(
    kafka: str, tmp_path: Path
) -> None:
    setup = Setup(kafka, partitions=2, settings={"SESSION_TIMEOUT": "20s"})
    setup.create()
    names = [f"call-{n}" for n in range(6)]
    produce(kafka, setup.calls, [event(name, "ringing", None) for name in names])
    with (
        Worker(setup, tmp_path / "one", env={"INSTANCE_ID": "one"}) as one,
        Worker(setup, tmp_path / "two", env={"INSTANCE_ID": "two"}) as two,
    ):
        all_ready(one, two)
        rounds = len(two.assignments())
        one.kill()
        with Worker(setup, tmp_path / "again", env={"INSTANCE_ID": "one"}) as again:
            ask_until_found(two, names)
            ask_until_found(again, names)
            assert again.url != one.url
            assert len(two.assignments()) == rounds
