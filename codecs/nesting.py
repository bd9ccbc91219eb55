"""How deep arrays and objects may be nested in a document: the same on every interpreter, however deep its stack is."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Final

MAX_DEPTH: Final = 512
"""The maximum nesting of arrays and objects, including the document's own object (semantics, section 2)."""

SMALL: Final = 2 * MAX_DEPTH
"""Bytes: a shorter document is neither nested too deeply nor has it a property that is too large."""


def is_deep(document: bytes) -> bool:
    """Whether arrays and objects are nested too deeply in a JSON document."""
    if document.count(b"[") + document.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", document).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets))) > MAX_DEPTH


_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_STEPS: Final = {0x5B: 1, 0x7B: 1, 0x5D: -1, 0x7D: -1}
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _STEPS)


def on_any_stack(read: Callable[[bytes], object], document: bytes) -> object:
    """What `read` finds, however deep the caller's stack is: the recursion limit must not decide about a record."""
    try:
        return read(document)
    except RecursionError:
        with ThreadPoolExecutor(1) as thread:  # which has a stack of its own
            return thread.submit(read, document).result()
