"""Entries that may not fit into memory, split by key: small parts stay in memory, larger ones go to temporary files."""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import SpooledTemporaryFile, gettempdir
from typing import Final
from zlib import crc32

from streams.errors import OperatorError

_PARTS: Final = 128
_IN_MEMORY: Final = 64 << 10  # bytes of a part
_LENGTH: Final = 4  # bytes


class Spill:
    """Entries by key, returned part by part: those of one key are in one part, in the order in which they were added.

    Takes at most 8 MiB of memory and the size of the entries in the directory for temporary files (TMPDIR). Raises
    OperatorError if that is full.
    """

    def __init__(self) -> None:
        self._parts = [SpooledTemporaryFile(max_size=_IN_MEMORY) for _ in range(_PARTS)]  # noqa: SIM115 - see close

    def put(self, key: bytes, entry: bytes) -> None:
        """Add an entry."""
        try:
            self._parts[crc32(key) % _PARTS].write(len(entry).to_bytes(_LENGTH, "big") + entry)
        except OSError as error:
            raise OperatorError(
                f"the comparison needs more room in {gettempdir()} ({error.strerror}): set TMPDIR to a directory with "
                "about 100 bytes for each revision and KPI window, or compare a smaller range"
            ) from None

    def parts(self) -> Iterator[Iterator[bytes]]:
        """The entries, part by part."""
        for part in self._parts:
            part.seek(0)
            yield self._entries(part)

    @staticmethod
    def _entries(part: SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
        while length := part.read(_LENGTH):
            yield part.read(int.from_bytes(length, "big"))

    def close(self) -> None:
        """Remove the files."""
        for part in self._parts:
            part.close()
