"""Logging: one record a line on stderr, for people or as JSON."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from streams.settings import Settings

_QUIETED: Final = ("aiokafka", "faust", "mode", "asyncio")


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z warning streams.engine: message`; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname.lower():<7} {record.name}: {_message(record)}"
        trace = _traceback(record)
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(logging.Formatter):
    """One object a line: `time`, `level`, `logger`, `message` and, after an exception, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace = _traceback(record)
        return json.dumps({**entry, "exception": trace} if trace else entry, ensure_ascii=False)


def configure(settings: Settings) -> None:
    """Sends the log of this process to stderr in the format and from the level that the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    handler.addFilter(_worth_saying)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for library in _QUIETED:
        # At info they tell of every start of every part; ask for debug to see that.
        logging.getLogger(library).setLevel(
            max(level, logging.WARNING) if level > logging.DEBUG else logging.INFO
        )


def _worth_saying(record: logging.LogRecord) -> bool:
    # A transaction begun right after another gets this answer from Kafka 4 and is tried again: no fault.
    routine = record.name.startswith("aiokafka.producer") and "NotEnoughReplicas" in record.getMessage()
    return not routine or record.levelno > logging.WARNING


def _time(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _message(record: logging.LogRecord) -> str:
    return record.getMessage().replace("\n", "\\n")


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0]:
        return logging.Formatter().formatException(record.exc_info)
    return record.stack_info or ""
