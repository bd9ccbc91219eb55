"""The headers of a dead letter: the record's own, then why and whence it came (semantics, section 2)."""

from collections.abc import Sequence

from streams.codecs.rejection import Rejected


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
