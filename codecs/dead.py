"""The headers of a dead letter: the record's own, then why it was rejected and where it is (semantics, section 2)."""

from typing import Final

from msgspec import Struct

from streams.codecs.rejection import Rejected
from streams.records import Headers, Output

_NAMES: Final = ("dead-reason", "dead-message", "dead-path", "dead-topic", "dead-partition", "dead-offset")
_TIMESTAMP, _VALUE_BYTES = "dead-timestamp", "dead-value-bytes"


def dead_headers(
    headers: Headers, rejected: Rejected, topic: str, partition: int, offset: int, timestamp: int
) -> list[tuple[str, bytes | None]]:
    """The headers of the dead letter for a record at `offset` of a partition of `topic`.

    `timestamp` is the record's own, in epoch ms; negative for none. Headers of the same names that the record already
    had stay where they are; the last one counts.
    """
    said = {"dead-reason": rejected.reason, "dead-message": rejected.message}
    if rejected.path is not None:
        said["dead-path"] = rejected.path
    said |= {"dead-topic": topic, "dead-partition": str(partition), "dead-offset": str(offset)}
    said[_TIMESTAMP] = str(max(timestamp, -1))
    return [*headers, *((name, text.encode()) for name, text in said.items())]


def smaller_letter(letter: Output) -> Output | None:
    """The next smaller form of a dead letter that is too large for its topic; None if there is none.

    First the value is left out, then also the key and the headers that the record itself had. The record is still where
    the headers say.
    """
    key, value, timestamp, headers = letter
    if value:
        return without_value(key, timestamp, headers, len(value))
    ours = headers[len(_split(headers)[0]) :]
    return (None, value, timestamp, ours) if key is not None or len(ours) < len(headers) else None


def without_value(key: bytes | None, timestamp: int, headers: Headers, size: int) -> Output:
    """A dead letter without its value, which had this many bytes."""
    return key, b"", timestamp, [*headers, (_VALUE_BYTES, str(size).encode())]


class Rejection(Struct, frozen=True):
    """What the headers of a dead letter say: why the record was rejected, and where it is."""

    reason: str
    message: str
    path: str | None
    topic: str
    partition: int
    offset: int
    #: The record's own timestamp in epoch ms, -1 for none. None: that of the letter, as release 0.1 wrote it.
    timestamp: int | None = None
    #: The size of the value, if the letter does not have it.
    value_bytes: int | None = None


def split_headers(headers: Headers) -> tuple[list[tuple[str, bytes | None]], Rejection] | None:
    """The inverse of `dead_headers`: the headers that the record itself had, and the rejection.

    None if the last headers are not those of a dead letter. A `dead-path` that the record already had is not mistaken
    for ours: ours come last, in a fixed order.
    """
    own, added = _split(headers)
    if not added:
        return None
    said = {name: (value or b"").decode("utf-8", "replace") for name, value in added}
    return None if (found := _rejection(said)) is None else (own, found)


def _split(headers: Headers) -> tuple[list[tuple[str, bytes | None]], list[tuple[str, bytes | None]]]:
    """The record's own headers, and those of the dead letter; the latter are empty if it is not a dead letter."""
    names = [name for name, _ in headers[-len(_NAMES) - 2 :]]
    tail = 0
    for name in (_VALUE_BYTES, _TIMESTAMP):
        tail += names[len(names) - tail - 1 :][:1] == [name]
    for ours in (_NAMES, tuple(name for name in _NAMES if name != "dead-path")):
        count = len(ours) + tail
        if tuple(names[len(names) - count : len(names) - tail]) == ours:
            at = len(headers) - count
            return list(headers[:at]), list(headers[at:])
    return list(headers), []


def _rejection(said: dict[str, str]) -> Rejection | None:
    partition, offset = said["dead-partition"], said["dead-offset"]
    if not (partition.isdecimal() and offset.isdecimal()):
        return None
    return Rejection(
        said["dead-reason"],
        said["dead-message"],
        said.get("dead-path"),
        said["dead-topic"],
        int(partition),
        int(offset),
        _number(said.get(_TIMESTAMP)),
        _number(said.get(_VALUE_BYTES)),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.removeprefix("-").isdecimal() else None
