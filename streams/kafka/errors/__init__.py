"""Kafka's errors in words, so that none of them reaches a person in its raw form.

`told` makes one line of an error: what was wrong and where, what it means for the data, and what to do next.

What each means is in `meanings`; docs/errors.md is written from the same table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from streams.engine.failures import NotAllowedError, about, missing_operation, unreached_text
from streams.errors import OperatorError
from streams.kafka.errors.meanings import TABLE


class KafkaFailure(OperatorError):
    """A Kafka error, in words."""


#: How many characters of Kafka's own text are kept.
_LONG: Final = 120

#: What a right is on, and the operation that is missing. None: it may be noted where the error occurred.
_RIGHTS: Final[dict[str, tuple[str, str | None]]] = {
    "TopicAuthorizationFailedError": ("topic", None),
    "GroupAuthorizationFailedError": ("group", "Read"),
    "TransactionalIdAuthorizationFailed": ("transactional id", "Write"),
    "ClusterAuthorizationFailedError": ("cluster", "this"),
}


def told(error: BaseException) -> BaseException:
    """A Kafka error in words, as an OperatorError; any other error unchanged."""
    lacking = missing_operation(error)
    name = _name(error := _unwrapped(error))
    if name is None:
        return error
    if name in _RIGHTS:
        kind, operation = _RIGHTS[name]
        return NotAllowedError.of(error, kind, operation or lacking or "Read or Write")
    meaning = TABLE[name]
    says = meaning.says + (unreached_text() if meaning.path == "connection" else "")
    where = ", ".join(getattr(error, "__notes__", ()))
    return KafkaFailure(
        f"{where + ': ' if where else ''}{says}. {meaning.data}. {meaning.do} ({_bare(error)})"
    )


def _unwrapped(error: BaseException) -> BaseException:
    """The error behind an unspecific one of aiokafka's: its cause, or the one that its text names."""
    if type(error).__name__ != "KafkaError":
        return error
    found, text = error.__cause__, " ".join(map(str, error.args))
    if found is None or _name(found) is None:
        named = (each for each in _kinds(type(error)) if re.search(rf"\b{each.__name__}\(", text))
        found = next((each(*re.findall(rf"{each.__name__}\('([^']*)'", text)) for each in named), None)
    if found is None:
        return error
    for note in getattr(error, "__notes__", ()):
        about(found, note)
    return found


def _kinds(parent: type[BaseException]) -> Iterator[type[BaseException]]:
    for each in parent.__subclasses__():
        yield each
        yield from _kinds(each)


def _name(error: BaseException) -> str | None:
    """The name of an error in the table; None for one that is not Kafka's."""
    classes = type(error).__mro__
    if any(each.__module__ == "aiokafka.errors" for each in classes):
        name = next(each.__name__ for each in classes if each.__name__ in TABLE)
        # Unspecific, too: every broker was asked for metadata, and none could be reached.
        return "NodeNotReadyError" if name == "KafkaError" and "cluster metadata" in str(error) else name
    # What aiokafka raises if a broker supports only versions of a request that it does not know.
    if isinstance(error, NotImplementedError) and str(error).startswith("Support for "):
        return "UnsupportedVersionError"
    return None


def _bare(error: BaseException) -> str:
    """The error in Kafka's own words, on one line: what people search for on the web or in a broker's log."""
    code, details = getattr(error, "errno", None), " ".join(map(str, error.args))
    if len(details) > _LONG:
        details = ""  # aiokafka's own advice, which is for programmers
    number = "Kafka's" if code is None else f"Kafka's error {code},"
    return " ".join(f"{number} {type(error).__name__}{': ' if details else ''}{details}".split())
