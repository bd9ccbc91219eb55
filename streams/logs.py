"""Logging: one record per line on stderr, as text or as JSON.

Repeated messages are held back and counted, so that a flood neither hides the rest nor costs much. No phone number is
written, whatever message or exception it is in. An exception that ends the process is logged in one line, with its
traceback below.
"""

import json
import logging
import re
import sys
import time
from datetime import UTC, datetime
from threading import Timer
from types import TracebackType
from typing import Any, Final, TextIO

from streams.errors import OperatorError
from streams.printable import printable
from streams.settings import Settings

_log: Final = logging.getLogger(__name__)
_QUIETED: Final = ("aiokafka", "faust", "mode", "asyncio")
_PHONE_NUMBER: Final = re.compile(r"\+[1-9][0-9]{6,14}(?![0-9])")


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z warning streams.engine: message`; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname.lower():<7} {record.name}: {printable(_message(record))}"
        trace = _traceback(record)
        return "\n".join([line, *map(printable, trace.split("\n"))]) if trace else line


class JsonFormatter(logging.Formatter):
    """One object per line: `time`, `level`, `logger`, `message` and, after an exception, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        trace = _traceback(record)
        return json.dumps({**entry, "exception": trace} if trace else entry, ensure_ascii=False)


_Place = tuple[str, str, int]


class Limited(logging.StreamHandler[TextIO]):
    """Writes `most` records of one place in the code within `seconds`, and counts the rest.

    When that time is over, the last record that was held back is written, with the number of records it stands for.
    Records of level `critical` are always written.
    """

    def __init__(self, stream: TextIO, most: int = 20, seconds: float = 60.0) -> None:
        super().__init__(stream)
        self.most, self.seconds = most, seconds
        #: By place: since when (monotonic), how many there were, and the last of them.
        self._come: dict[_Place, tuple[float, int, logging.LogRecord]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or hold it back."""
        place, now = (record.name, record.pathname, record.lineno), time.monotonic()
        since, come, _ = self._come.get(place, (now, 0, record))
        if now - since >= self.seconds:
            self._tell(place)
            since, come = now, 0
        self._come[place] = since, come + 1, record
        if come < self.most or record.levelno >= logging.CRITICAL:
            super().emit(record)
        elif come == self.most:
            timer = Timer(self.seconds - (now - since), self._tell, [place])
            timer.daemon = True
            timer.start()

    def close(self) -> None:
        """Write what has been held back, and end."""
        for place in list(self._come):
            self._tell(place)
        super().close()

    def _tell(self, place: _Place) -> None:
        with self.lock:  # type: ignore[union-attr]
            _, come, last = self._come.pop(place, (0.0, 0, None))
            if last is None or (held := come - self.most) <= 0:
                return
            last.msg = (
                f"{last.getMessage()} (and {held - 1} more like it, held back within {self.seconds:g} s)"
            )
            last.args = last.exc_info = last.stack_info = None
            super().emit(last)


def configure(settings: Settings) -> None:
    """Sends the log of this process to stderr, with the format and level from the settings."""
    handler = Limited(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    handler.addFilter(_worth_saying)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(level=level, handlers=[handler], force=True)
    sys.excepthook = _crashed
    for library in _QUIETED:
        # At level info they log every start of every part; use debug to see that.
        logging.getLogger(library).setLevel(
            max(level, logging.WARNING) if level > logging.DEBUG else logging.INFO
        )


def _worth_saying(record: logging.LogRecord) -> bool:
    if record.name.startswith("faust") and "Crashed reason=" in record.getMessage():
        return False  # the error is logged when the process ends
    # A transaction begun right after another gets this answer from Kafka 4 and is retried: not a fault.
    routine = record.name.startswith("aiokafka.producer") and "NotEnoughReplicas" in record.getMessage()
    return not routine or record.levelno > logging.WARNING


def _time(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _log.critical(
        "this process ends because of a bug (%s): start it again, it continues from its last commit, "
        "and report the traceback",
        kind.__name__,
        exc_info=(kind, error, trace),
    )


def _message(record: logging.LogRecord) -> str:
    return _masked(record.getMessage())


def _traceback(record: logging.LogRecord) -> str:
    if isinstance(record.args, tuple) and any(isinstance(each, OperatorError) for each in record.args):
        return ""  # its message says everything
    if record.exc_info and record.exc_info[0]:
        return _masked(logging.Formatter().formatException(record.exc_info))
    return record.stack_info or ""


def _masked(text: str) -> str:
    return _PHONE_NUMBER.sub("+…", text)
