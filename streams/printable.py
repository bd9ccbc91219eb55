"""Makes text from records safe for a terminal."""

from __future__ import annotations

import re
from typing import Final

#: What `surrogateescape` makes of a byte that is not UTF-8.
_BYTES: Final = range(0xDC80, 0xDD00)
_TAME: Final = re.compile(r"[\x20-\x7e]*")


def printable(text: str) -> str:
    """The text with everything that acts on a terminal, or is invisible, replaced by Python escapes.

    That is control characters (including ESC, line ends and tabs), direction marks, joiners and other format
    characters, blanks other than the space, lone surrogates, and what Unicode does not define. The result is one line.
    A backslash is not escaped, so the result is only for people: programs get JSON.
    """
    if _TAME.fullmatch(text):
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def _escape(char: str) -> str:
    point = ord(char)
    return f"\\x{point - 0xDC00:02x}" if point in _BYTES else char.encode("unicode_escape").decode("ascii")
