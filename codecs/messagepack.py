"""Reads MessagePack without hashing the names in it.

A map may have arrays as names, and Python gives arrays that differ only in -1 and -2 the same hash: a megabyte of such
names takes minutes to become a dict. Here a map is a list of pairs, so the time depends only on the size.
"""

from __future__ import annotations

import gc
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgpack
from msgspec.msgpack import Ext

#: The first bytes of arrays and maps: those that contain the size, and those that say where it follows.
_CONTAINERS: Final = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
#: This many arrays and maps can neither be nested too deeply, nor make a dict slow.
_FEW: Final = 256


class UnreadableDocumentError(ValueError):
    """Not MessagePack; the text says why, without any part of the value."""


def is_harmless(document: bytes) -> bool:
    """Whether the document has too few arrays and maps to make a dict slow, or to be nested too deeply."""
    return len(document) - len(document.translate(None, _CONTAINERS)) <= _FEW


def known(document: bytes, names: Container[object], deepest: int) -> dict[object, object] | None:
    """The entries of a map with these names, the last of each, with arrays and maps left empty; None for anything but a
    map.

    Raises UnreadableDocumentError if it is not MessagePack, is nested more than `deepest` deep, or has a map or an
    extension in a name, as a decoder to dicts does.
    """
    try:
        with _without_collections():
            # Arrays are tuples here, and maps are lists of pairs.
            unpacked: Any = msgpack.unpackb(
                document, object_pairs_hook=_pairs, ext_hook=Ext, strict_map_key=False, use_list=False
            )
    except msgpack.StackError:
        raise UnreadableDocumentError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise UnreadableDocumentError("it has invalid UTF-8") from None
    except msgpack.ExtraData:
        raise UnreadableDocumentError("trailing characters") from None
    except ValueError:
        raise UnreadableDocumentError("it ends too early or has a byte without a meaning") from None
    _check(unpacked, deepest)
    if type(unpacked) is not list:
        return None
    return {
        name: _EMPTY.get(type(value), value)
        for name, value in unpacked
        if isinstance(name, str) and name in names
    }


def _pairs(pairs: list[tuple[object, object]]) -> list[tuple[object, object]]:
    return pairs


@contextmanager
def _without_collections() -> Iterator[None]:
    """The garbage collector would scan a million new containers again and again, for nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _check(document: object, deepest: int) -> None:
    """Read a document level by level, without recursion, however deep it is."""
    values: list[Any] = [document]
    names: list[Any] = []
    for _ in range(deepest + 1):
        if any(type(name) in _NO_NAMES for name in names):
            raise UnreadableDocumentError("a map or an extension is a name")
        maps = [each for each in values if type(each) is list]
        arrays = [each for each in values if type(each) is tuple]
        names = [item for name in names if type(name) is tuple for item in name]
        if not (maps or arrays or names):
            return
        values = [item for array in arrays for item in array]
        for pairs in maps:
            for name, value in pairs:
                if type(name) is not str:
                    names.append(name)
                values.append(value)
    raise UnreadableDocumentError("it is nested too deeply")


#: Placeholders for an array and for a map.
_EMPTY: Final[dict[type, object]] = {tuple: [], list: {}}
_NO_NAMES: Final = (list, Ext, msgpack.Timestamp)
