"""The lines of a file as records of the calls topic."""

import time
from collections.abc import Iterable, Iterator

import msgspec

from streams.errors import OperatorError

# By default producers and brokers accept 1 MiB, including the record's framing.
_LONGEST = 1_000_000  # bytes


class _Document(msgspec.Struct):
    id: str


_decode = msgspec.json.Decoder(_Document).decode


def records(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes | None, bytes]]:
    """Event time (now, epoch ms), key and value of each line; an empty line is an empty record.

    Raises OperatorError for a line that is too long for a record.
    """
    for number, line in enumerate(lines, 1):
        value = line.removesuffix(b"\n").removesuffix(b"\r")
        if len(value) > _LONGEST:
            raise OperatorError(
                f"line {number} has {len(value):,} bytes, a record takes at most {_LONGEST:,}"
            )
        yield time.time_ns() // 1_000_000, key(value), value


def key(value: bytes) -> bytes | None:
    """The `id` of a JSON object, if it has one that is a string."""
    try:
        return _decode(value).id.encode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
