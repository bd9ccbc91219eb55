"""Logging: one record a line, nothing that is no news."""

import json
import logging
import re
from collections.abc import Iterator

import pytest

from streams import logs
from streams.settings import Settings

log = logging.getLogger("streams.test")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    names = ["aiokafka", "faust", "mode", "asyncio"]
    root, levels = logging.getLogger(), [logging.getLogger(name).level for name in names]
    handlers, level = root.handlers[:], root.level
    yield
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
