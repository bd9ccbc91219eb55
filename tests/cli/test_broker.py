"""`telefonie broker`: the address on stdout, a clean end, one line for what prevents the start."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.kafka import create_topics
from support.training import train

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]

Command = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Command]:
    """Starts `telefonie broker` with some arguments, in an empty directory."""
    train()
    started: list[subprocess.Popen[str]] = []

    def start(*args: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "streams", "broker", *args]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for each in started:
        with suppress(ValueError):  # its output has been read
            each.kill()
            each.communicate()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_runs_until_it_is_told_to_end(broker: Command, tmp_path: Path, end: signal.Signals) -> None:
    command = broker()
    assert command.stdout
    address = command.stdout.readline().strip()
    create_topics(address, "calls")
    command.send_signal(end)
    rest, messages = command.communicate(timeout=20)
    assert (command.returncode, rest) == (0, "")
    assert "its data is in .telefonie/kafka\nstopping Apache Kafka\n" in messages
    assert (tmp_path / ".telefonie" / "kafka" / "node-1").is_dir()


def test_what_is_in_the_way_is_one_line_and_exit_1(broker: Command) -> None:
    first = broker("--data-dir", "here")
    assert first.stdout
    port = first.stdout.readline().strip().rpartition(":")[2]
    second = broker("--data-dir", "here")
    third = broker("--data-dir", "there", "--port", port)
    assert second.communicate(timeout=20)[1].endswith(
        f"is in use by process {first.pid}: stop that process, or choose another directory\n"
    )
    assert (
        third.communicate(timeout=20)[1]
        == f"error: port {port} is in use by another program: choose another one or none\n"
    )
    assert (second.returncode, third.returncode) == (1, 1)


def test_a_broker_that_ends_by_itself_ends_the_command(broker: Command, tmp_path: Path) -> None:
    command = broker("--data-dir", "here")
    assert command.stdout
    command.stdout.readline()
    children = Path(f"/proc/{command.pid}/task").glob("*/children")
    (jvm,) = [int(pid) for each in children for pid in each.read_text().split()]
    os.kill(jvm, signal.SIGKILL)
    messages = command.communicate(timeout=20)[1]
    assert command.returncode == 1
    assert f"error: broker 1 ended (exit code -9); the end of {tmp_path}/here/node-1.log" in messages
