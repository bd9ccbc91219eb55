"""The command as people and scripts use it: help, exit codes, where output goes."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import click
import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from click.testing import CliRunner

from streams.cli import main
from streams.errors import OperatorError

CONTEXT = click.Context(main)
COMMAND = (sys.executable, "-m", "streams")


def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    given = {**clean_environment(), **{f"TELEFONIE_{name}": value for name, value in env.items()}}
    return subprocess.run([*COMMAND, *args], capture_output=True, text=True, env=given, timeout=60)


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TELEFONIE_")}


@pytest.mark.parametrize("name", main.list_commands(CONTEXT))
def test_every_command_has_help_with_an_example(name: str) -> None:
    command = main.get_command(CONTEXT, name)
    paths = [[name]]
    if isinstance(command, click.Group):
        paths += [[name, each] for each in command.commands]
    for path in paths:
        result = CliRunner().invoke(main, [*path, "--help"])
        assert result.exit_code == 0
        assert re.search(r"Examples?:", result.output)
        assert f"telefonie {' '.join(path)}" in result.output


def test_help_is_quick_and_lists_the_commands() -> None:
    before = os.times()
    result = run("--help")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used < 0.5, "seconds of the processor's time; about 0.1 on most machines"
    assert result.returncode == 0
    for name in main.list_commands(CONTEXT):
        assert re.search(rf"^  {name} ", result.stdout, re.MULTILINE)


def test_help_loads_no_kafka_client() -> None:
    code = "import sys, streams.cli; print([m for m in ('aiokafka', 'faust', 'rich') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "[]"


def test_the_version() -> None:
    assert re.fullmatch(r"telefonie \d+\.\d+\.\d+\n", run("--version").stdout)


@pytest.mark.parametrize(
    "args",
    [("nonsense",), ("settings", "--nonsense"), ("schema", "nonsense"), ("topics", "nonsense"),
     ("simulate", "--duplicates", "1.5"), ("simulate", "--rate", "0"), ("validate", "no-such-file")],
)  # fmt: skip
def test_a_wrong_command_line_exits_2(args: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 2
    assert not result.stdout
    assert "Error" in result.stderr


@pytest.mark.parametrize(
    "args",
    [("settings",), ("topics", "check"), ("topics", "create"), ("simulate",), ("validate",)],
    ids=" ".join,
)
def test_a_wrong_setting_is_one_line_and_exit_1(args: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, args, env={"TELEFONIE_CALL_TIMEOUT": "soon"})
    assert result.exit_code == 1
    assert not result.stdout
    assert result.stderr.startswith("error: TELEFONIE_CALL_TIMEOUT takes a duration")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "args",
    [("topics", "check"), ("topics", "create"), ("simulate",), ("dead", "list"), ("completed", "tail")],
    ids=" ".join,
)
@pytest.mark.parametrize("brokers", ["127.0.0.1:1", "nowhere.invalid:9092"])
def test_unreachable_brokers_are_one_line_and_exit_1(args: tuple[str, ...], brokers: str) -> None:
    result = run(*args, BROKERS=brokers)
    assert result.returncode == 1
    assert not result.stdout
    assert result.stderr.startswith(f"error: no Kafka broker answers at {brokers} (TELEFONIE_BROKERS)")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "args",
    [("topics", "check"), ("simulate",), ("dead", "redrive", "--all"), ("completed", "get", "x")],
    ids=" ".join,
)
def test_missing_brokers_are_one_line_and_exit_1(args: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, args, env={"TELEFONIE_BROKERS": None})
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: TELEFONIE_BROKERS is missing: it takes host:port,…\n"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    def fail_with(error: Exception) -> None:
        def command() -> None:
            raise error

        monkeypatch.setattr("streams.cli.schema.schema", click.Command("schema", callback=command))

    return fail_with


MISSING = "error: the brokers refuse this user: the ACL Read or Write on the topic x is missing\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OperatorError("this and that"), "error: this and that\n"),
        (TopicAuthorizationFailedError("x"), MISSING),
    ],
)
def test_an_error_that_operators_can_correct_has_no_traceback(
    failing: Callable[[Exception], None], error: Exception, line: str
) -> None:
    failing(error)
    result = CliRunner().invoke(main, ["schema"])
    assert (result.exit_code, result.stderr) == (1, line)


def test_a_bug_keeps_its_traceback(failing: Callable[[Exception], None]) -> None:
    failing(RuntimeError("a bug"))
    result = CliRunner().invoke(main, ["schema"])
    assert isinstance(result.exception, RuntimeError)


def test_a_closed_pipe_is_no_traceback() -> None:
    made = subprocess.Popen(
        [*COMMAND, "simulate", "--calls", "5000", "--print"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert made.stdout is not None
    assert made.stderr is not None
    made.stdout.readline()
    made.stdout.close()
    assert made.stderr.read() == b""
    made.stderr.close()
    assert made.wait(timeout=30) == 1


def test_ctrl_c_is_no_traceback() -> None:
    reading = subprocess.Popen(
        [*COMMAND, "validate"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert reading.stdin is not None
    reading.stdin.write(b"\n" * 20_000)  # more than it keeps back: once it writes, it is running
    reading.stdin.flush()
    assert reading.stdout is not None
    reading.stdout.readline()
    reading.send_signal(signal.SIGINT)
    _, errors = reading.communicate(timeout=30)
    assert reading.returncode == 1
    assert b"Traceback" not in errors
