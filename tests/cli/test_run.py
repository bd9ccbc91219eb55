"""`telefonie run`: everything together, from the first event to the last process gone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.kafka import read_topic

from streams.cli import main
from streams.cli.feed import key, records
from streams.cli.follow import asked, figures
from streams.errors import OperatorError

SAMPLE = Path(__file__).parent.parent / "data" / "sample-calls.jsonl"
COMMAND = (sys.executable, "-m", "streams", "run")

Command = Callable[..., "subprocess.Popen[str]"]


def environment(**settings: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TELEFONIE_")}
    given = {"HTTP_PORT": "0", **settings}
    return inherited | {f"TELEFONIE_{name}": value for name, value in given.items()}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Command]:
    """Starts `telefonie run` with an embedded Kafka in an empty directory."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str, **settings: str) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        command = subprocess.Popen(
            [*COMMAND, *args], cwd=tmp_path, env=environment(**settings), stdout=pipe, stderr=pipe, text=True
        )
        started.append(command)
        return command

    yield start
    for each in started:
        with suppress(ValueError):  # its output has been read
            each.kill()
            each.communicate()


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def where(command: "subprocess.Popen[str]") -> dict[str, str]:
    """What it prints once everything runs."""
    assert command.stdout
    told: dict[str, str] = {}
    while "traffic" not in told:
        name, _, value = command.stdout.readline().strip().partition(" ")
        assert name, command.communicate()[1]
        told[name] = value.strip()
    return told


def children(pid: int) -> dict[str, int]:
    """The processes of a run, by what they are."""
    pids = [
        int(pid) for each in Path(f"/proc/{pid}/task").glob("*/children") for pid in each.read_text().split()
    ]
    names = {"kafka.Kafka", "worker", "simulate"}
    return {word: pid for pid in pids for word in command_line(pid) if word in names}


def command_line(pid: int) -> list[str]:
    """Linux shows none for a moment after a process has been started, when Popen has returned already."""
    path = Path(f"/proc/{pid}/cmdline")
    until(path.read_bytes)
    return path.read_text().split("\0")


def gone(pids: dict[str, int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids.values())


def metric(told: dict[str, str], name: str) -> float:
    address = told["metrics"].removeprefix("http://").removesuffix("/metrics")
    connection = HTTPConnection(address, timeout=5)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_runs_until_ctrl_c_and_goes_on_the_next_time(run: Command) -> None:
    first = run("--simulate", "200")
    told = where(first)
    until(lambda: metric(told, "telefonie_calls_completed_total") > 20)
    pids = children(first.pid)
    assert pids.keys() == {"kafka.Kafka", "worker", "simulate"}
    first.send_signal(signal.SIGINT)
    begun = time.monotonic()
    messages = first.communicate(timeout=30)[1]
    assert time.monotonic() - begun < 15
    assert (first.returncode, gone(pids)) == (0, True)
    assert "stopping telefonie simulate\nstopping telefonie worker\nstopping Apache Kafka\n" in messages

    second = run("--simulate", "0")
    told_again = where(second)
    assert told_again["Kafka"] == told["Kafka"]
    assert told_again["traffic"] == "none"
    until(lambda: metric(told_again, "telefonie_calls_open") > 20)
    pids = children(second.pid)
    assert pids.keys() == {"kafka.Kafka", "worker"}
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=30)
    assert (second.returncode, gone(pids)) == (0, True)


@pytest.mark.kafka
@pytest.mark.timeout(60)
@pytest.mark.parametrize("part", ["kafka.Kafka", "worker", "simulate"])
def test_a_part_that_ends_ends_all_of_it(run: Command, part: str) -> None:
    command = run()
    where(command)
    pids = children(command.pid)
    os.kill(pids[part], signal.SIGKILL)
    messages = command.communicate(timeout=20)[1]
    assert command.returncode == 1
    assert (
        f"error: {'broker 1' if part == 'kafka.Kafka' else f'telefonie {part}'} ended (exit code -9)"
        in messages
    )
    assert gone(pids)


@pytest.mark.kafka
@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_kill_leaves_no_process_behind(run: Command) -> None:
    command = run()
    where(command)
    pids = children(command.pid)
    command.kill()
    until(lambda: gone(pids), 5)


def feed(
    directory: Path, kafka: str, name: str, *args: str, data: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    topics = {
        topic: f"{name}.{topic}" for topic in ("CALLS_TOPIC", "COMPLETED_TOPIC", "KPIS_TOPIC", "DEAD_TOPIC")
    }
    settings = environment(BROKERS=kafka, APP_ID=name, **topics)
    return subprocess.run(
        [*COMMAND, *args], cwd=directory, env=settings, input=data, capture_output=True, timeout=60
    )


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_feeds_a_file_and_says_what_became_of_it(kafka: str, topic_name: str, tmp_path: Path) -> None:
    done = feed(tmp_path, kafka, topic_name, "--input", str(SAMPLE), "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["read"] == 41
    assert summary["rejected"] == {"empty": 1, "malformed": 2, "schema": 3}
    assert summary["open"] == {"in-progress": 1, "queued": 1}
    assert summary["completed"] == {"completed": 5, "busy": 1, "no-answer": 1, "canceled": 1, "failed": 1}

    sent = read_topic(kafka, f"{topic_name}.CALLS_TOPIC")
    assert Counter(record.value for record in sent) == Counter(SAMPLE.read_bytes().split(b"\n")[:-1])
    assert all(record.key == key(record.value or b"") for record in sent)
    assert len({(record.key, record.partition) for record in sent if record.key}) == len(
        {record.key for record in sent if record.key}
    )
    last = {
        record.key: json.loads(record.value or b"")
        for record in read_topic(kafka, f"{topic_name}.COMPLETED_TOPIC")
    }
    assert len(last) == 9
    anomalies = Counter(each for call in last.values() for each in call.get("anomalies", []))
    assert anomalies == {"conflicting-status": 1, "no-history": 1, "number-unknown": 1, "out-of-order": 1}
    assert max(call["revision"] for call in last.values()) == 3
    assert len(read_topic(kafka, f"{topic_name}.DEAD_TOPIC")) == 6


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_what_was_fed_before_is_remembered(kafka: str, topic_name: str, tmp_path: Path) -> None:
    call = (
        b'{"id":"a","status":"ringing","direction":"inbound","from":"+12125550123","to":"+12125550124"}\r\n'
    )
    first = feed(tmp_path, kafka, topic_name, "--input", "-", data=call + call)
    assert " ".join(first.stdout.decode().split()) == (
        "read 2 applied 2 rejected 0 completed 0 open 1 (ringing 1)"
    )
    second = feed(tmp_path, kafka, topic_name, "--input", "-", data=call.replace(b"ringing", b"busy"))
    assert " ".join(second.stdout.decode().split()) == (
        "read 1 applied 1 rejected 0 completed 1 (busy 1) open 0"
    )


@pytest.mark.kafka
@pytest.mark.timeout(60)
def test_a_line_that_cannot_be_a_record_is_named(kafka: str, topic_name: str, tmp_path: Path) -> None:
    done = feed(tmp_path, kafka, topic_name, "--input", "-", data=b"{}\n" + b"x" * 1_000_001)
    assert done.returncode == 1
    said = done.stderr.decode().splitlines()[-1]
    assert said == "error: line 2 has 1,000,001 bytes, a record takes at most 1,000,000"


@pytest.mark.parametrize(
    "args",
    [
        ("--json",),
        ("--input", "no-such-file"),
        ("--input", str(SAMPLE), "--simulate", "1"),
        ("--simulate", "-1"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_exits_2(
    args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["run", *args]).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_the_embedded_kafka_takes_no_security_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result: Result = CliRunner(env={"TELEFONIE_SECURITY_PROTOCOL": "SSL"}).invoke(main, ["run"])
    assert result.exit_code == 1
    assert "error: TELEFONIE_BROKERS is missing: the embedded Kafka takes no" in result.stderr


def test_lines_become_records_in_order() -> None:
    made = list(records([b'{"id":"a"}\r\n', b"\n", b"no JSON"]))
    assert [(key, value) for _, key, value in made] == [
        (b"a", b'{"id":"a"}'),
        (None, b""),
        (None, b"no JSON"),
    ]
    assert all(abs(at / 1000 - time.time()) < 60 for at, _, _ in made)


@pytest.mark.parametrize(
    "value", [b'{"id":1}', b"{}", b'["id"]', b'{"id":"a"', b'{"id":"\\ud800"}', b"[" * 100_000]
)
def test_a_document_without_an_id_has_no_key(value: bytes) -> None:
    assert key(value) is None


def test_a_long_line_is_named() -> None:
    with pytest.raises(OperatorError, match="line 1 has"):
        list(records([b"x" * 1_000_001]))


def test_the_figures_are_sums() -> None:
    exposed = (
        'telefonie_call_events_total{status="queued"} 1200\ntelefonie_call_events_total{status="busy"} 34\n'
        'telefonie_calls_open{status="queued"} 2\n'
    )
    assert figures(exposed) == "1,234 events, 0 calls completed, 2 open, 0 records rejected, 0 waiting"


def test_a_worker_that_does_not_answer_has_said_nothing() -> None:
    assert asked("http://[::1]:1", "/ready") is None
