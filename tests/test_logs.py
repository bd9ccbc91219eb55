"""Logging: one record per line, and repeated messages held back."""

import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from streams import logs
from streams.settings import Settings

log = logging.getLogger("streams.test")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    names = ["aiokafka", "faust", "mode", "asyncio"]
    root, levels = logging.getLogger(), [logging.getLogger(name).level for name in names]
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    yield
    sys.excepthook = hook
    root.handlers[:], root.level = handlers, level
    for name, before in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(before)


def written(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert not out
    return err


def fail() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("it failed")


def test_text_is_one_line_with_the_time_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    log.warning("first %s\nsecond", "line")
    line = written(capsys)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning streams\.test: first line\\nsecond\n", line
    )


def test_text_has_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    fail()
    assert "error   streams.test: it failed\nTraceback (most recent call last):\n" in written(capsys)


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="json"))
    log.info("two\nlines %d", 7)
    fail()
    first, second = map(json.loads, written(capsys).splitlines())
    assert set(first) == {"time", "level", "logger", "message"}
    assert (first["level"], first["logger"], first["message"]) == ("info", "streams.test", "two\nlines 7")
    assert second["exception"].endswith("ValueError: two\nlines")


@pytest.mark.parametrize(("level", "lines"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level(capsys: pytest.CaptureFixture[str], level: str, lines: int) -> None:
    logs.configure(Settings.load({"TELEFONIE_LOG_LEVEL": level}))
    for name in ("debug", "info", "warning", "error"):
        log.log(logging.getLevelNamesMapping()[name.upper()], "said")
    assert written(capsys).count("said") == lines


@pytest.mark.parametrize(("level", "said"), [("info", False), ("debug", True)])
def test_libraries_tell_of_their_starts_only_when_debugging(
    capsys: pytest.CaptureFixture[str], level: str, said: bool
) -> None:
    logs.configure(Settings.load({"TELEFONIE_LOG_LEVEL": level}))
    logging.getLogger("mode.services").info("starting")
    assert ("starting" in written(capsys)) == said


def test_the_routine_retry_of_a_transaction_is_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    sender = logging.getLogger("aiokafka.producer.sender")
    sender.warning(
        "Got error produce response on topic-partition %s, retrying. Error: %s", "t-0", "NotEnoughReplicas"
    )
    sender.warning(
        "Got error produce response on topic-partition %s, retrying. Error: %s", "t-0", "NotLeader"
    )
    assert written(capsys).count("\n") == 1


def flood(times: int) -> None:
    for n in range(times):
        log.warning("no broker answers, attempt %d", n)


def limited(most: int, seconds: float) -> None:
    logs.configure(Settings())
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logs.Limited)
    handler.most, handler.seconds = most, seconds


def test_a_flood_is_held_back_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    limited(3, 2)
    flood(100)
    log.warning("something else")
    first = written(capsys).splitlines()
    assert [line.rpartition(": ")[2] for line in first] == [
        "no broker answers, attempt 0",
        "no broker answers, attempt 1",
        "no broker answers, attempt 2",
        "something else",
    ]
    give_up = time.monotonic() + 30
    while not (told := written(capsys)) and time.monotonic() < give_up:
        time.sleep(0.1)
    assert told.count("\n") == 1
    assert told.endswith("no broker answers, attempt 99 (and 96 more like it, held back within 2 s)\n")
    flood(2)
    assert written(capsys).count("\n") == 2


def test_what_was_held_back_is_told_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    limited(1, 60)
    flood(3)
    logging.getLogger().handlers[0].close()
    assert written(capsys).count("(and 1 more like it, held back within 60 s)") == 1


def test_the_worst_is_never_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    limited(1, 60)
    for _ in range(3):
        log.critical("it ends")
    assert written(capsys).count("it ends") == 3


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_phone_number_is_written(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    logs.configure(Settings(log_format=log_format))  # type: ignore[arg-type]
    log.error("from %s to +4915123456789, offset 1234567890, 2026-11-25T00:00:00+0000", "+12125550123")
    try:
        raise KeyError("+12125550123")
    except KeyError:
        log.exception("it failed")
    said = written(capsys)
    assert "from +… to +…, offset 1234567890, 2026-11-25T00:00:00+0000" in said
    assert "KeyError: '+…'" in said
    assert "5550123" not in said


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_crash_is_one_line_on_top_of_its_traceback(log_format: str) -> None:
    code = (
        "from streams import logs; from streams.settings import Settings\n"
        f"logs.configure(Settings(log_format={log_format!r}))\n"
        "raise ZeroDivisionError('about +12125550123')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, "5550123" in done.stderr) == (1, "", False)
    first, *rest = done.stderr.splitlines()
    assert "this process ends because of a bug (ZeroDivisionError): start it again" in first
    if log_format == "json":
        assert not rest
        assert json.loads(first)["exception"].endswith("ZeroDivisionError: about +…")
    else:
        assert (rest[0], rest[-1]) == ("Traceback (most recent call last):", "ZeroDivisionError: about +…")


def test_faust_does_not_tell_of_a_crash_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    logging.getLogger("faust").error("[^-Application]: Crashed reason=%r", "x")
    assert written(capsys) == ""
