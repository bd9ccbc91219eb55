"""The headers of a dead letter: the record's own, then why and whence it came (semantics, section 2)."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from streams.codecs.rejection import Rejected

_NAMES: Final = ("dead-reason", "dead-message", "dead-path", "dead-topic", "dead-partition", "dead-offset")


def dead_headers(
    headers: Sequence[tuple[str, bytes | None]], rejected: Rejected, topic: str, partition: int, offset: int
) -> list[tuple[str, bytes | None]]:
    """The dead letter's headers for a record that was read at `offset` of a partition of `topic`.

    Headers of the same names that the record already had stay where they are; the last one counts.
    """
    said = {"dead-reason": rejected.reason, "dead-message": rejected.message}
    if rejected.path is not None:
        said["dead-path"] = rejected.path
    said |= {"dead-topic": topic, "dead-partition": str(partition), "dead-offset": str(offset)}
    return [*headers, *((name, text.encode()) for name, text in said.items())]


class Rejection(Struct, frozen=True):
    """What the headers of a dead letter say: why it was rejected, and where it was read."""

    reason: str
    message: str
    path: str | None
    topic: str
    partition: int
    offset: int


def split_headers(
    headers: Sequence[tuple[str, bytes | None]],
) -> tuple[list[tuple[str, bytes | None]], Rejection] | None:
    """The inverse of `dead_headers`: the headers that the record itself had, and the rejection.

    None when the last headers are not those of a dead letter. A `dead-path` that the record brought along is
    not taken for ours: ours come last, in a fixed order.
    """
    for names in (_NAMES, tuple(name for name in _NAMES if name != "dead-path")):
        own, added = headers[: -len(names)], headers[-len(names) :]
        if tuple(name for name, _ in added) == names:
            said = {name: (value or b"").decode("utf-8", "replace") for name, value in added}
            return None if (found := _rejection(said)) is None else (list(own), found)
    return None


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
    )
