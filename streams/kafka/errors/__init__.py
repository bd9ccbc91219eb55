"""Kafka's errors in words, so that none of them reaches a person bare.

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
    """An error of Kafka's, in words."""


#: Characters of what an error says itself.
_LONG: Final = 120

#: What a right is on, and the operation that is missing; None: where the error occurred it may be noted.
_RIGHTS: Final[dict[str, tuple[str, str | None]]] = {
    "TopicAuthorizationFailedError": ("topic", None),
    "GroupAuthorizationFailedError": ("group", "Read"),
    "TransactionalIdAuthorizationFailed": ("transactional id", "Write"),
    "ClusterAuthorizationFailedError": ("cluster", "this"),
}


def told(error: BaseException) -> BaseException:
    """An error of Kafka's in words, as an OperatorError; any other error as it is."""
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
    """The error of which aiokafka has made one of no kind: its cause, or what its text names."""
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
    """The name under which the table has an error; None for one that is not Kafka's."""
    classes = type(error).__mro__
    if any(each.__module__ == "aiokafka.errors" for each in classes):
        name = next(each.__name__ for each in classes if each.__name__ in TABLE)
        # Of no kind either, when each broker has been asked for metadata and none could be reached.
        return "NodeNotReadyError" if name == "KafkaError" and "cluster metadata" in str(error) else name
    # What aiokafka raises where a broker offers only versions of a request that it does not know.
    if isinstance(error, NotImplementedError) and str(error).startswith("Support for "):
        return "UnsupportedVersionError"
    return None


def _bare(error: BaseException) -> str:
    """The error in Kafka's own words, on one line: what one looks for in the web or in a broker's log."""
    code, details = getattr(error, "errno", None), " ".join(map(str, error.args))
    if len(details) > _LONG:
        details = ""  # aiokafka's own advice, which is for programmers
    number = "Kafka's" if code is None else f"Kafka's error {code},"
    return " ".join(f"{number} {type(error).__name__}{': ' if details else ''}{details}".split())
