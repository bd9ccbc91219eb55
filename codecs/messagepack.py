"""MessagePack that is read without hashing the names in it.

A map may have arrays as names, and Python hashes those alike that hold -1 where others hold -2: a megabyte of such
names takes minutes to become a dict. Here nothing of a map is kept but what is asked for, whatever its names are, in
a time that grows with the size alone.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

_ARRAYS: Final = bytes([*range(0x90, 0xA0), 0xDC, 0xDD])
#: So many arrays cannot make a dict slow.
_FEW: Final = 256
#: About where the other decoders end.
_DEEPEST: Final = 1000

_MAPS: Final = {bytes([byte]) for byte in (*range(0x80, 0x90), 0xDE, 0xDF)}
_decode: Final = msgspec.msgpack.Decoder().decode


class _Shape(NamedTuple):
    """What a first byte means: `size` bytes, then what `length`, or the number in the `digits` next bytes, counts.

    `items` is how many items there are for each that is counted: none in a scalar (bytes are counted), 1 in an array,
    2 in a map.
    """

    size: int = 1
    digits: int = 0
    items: int = 0
    length: int = 0


@dataclass(slots=True)
class _Open:
    """An array or map of which `left` items are to come."""

    left: int
    is_map: bool = False
    #: It is part of a name.
    is_name: bool = False


def _shapes() -> dict[int, _Shape]:
    """By first byte, as the specification of MessagePack lists them."""
    shapes = {byte: _Shape() for byte in (*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3)}
    for count in range(16):
        shapes[0x80 + count] = _Shape(items=2, length=count)
        shapes[0x90 + count] = _Shape(items=1, length=count)
    shapes |= {0xA0 + count: _Shape(size=1 + count) for count in range(32)}
    sizes = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
    extensions = {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
    shapes |= {byte: _Shape(size=1 + size) for byte, size in (sizes | extensions).items()}
    for power in range(3):
        digits = 1 << power
        shapes[0xC4 + power] = shapes[0xD9 + power] = _Shape(1 + digits, digits)
        shapes[0xC7 + power] = _Shape(2 + digits, digits)
    for power in range(2):
        digits = 2 << power
        shapes[0xDC + power] = _Shape(1 + digits, digits, 1)
        shapes[0xDE + power] = _Shape(1 + digits, digits, 2)
    return shapes


_SHAPES: Final = _shapes()


def is_harmless(document: bytes) -> bool:
    """Whether too few arrays are in the document to make a dict slow."""
    return len(document) - len(document.translate(None, _ARRAYS)) <= _FEW


def known(document: bytes, names: Container[object]) -> dict[object, object] | None:
    """Of a map its entries with these names, the last of each, arrays and maps empty; None of anything else.

    Raises what msgspec does for what is not MessagePack, or has a map or an extension among its names.
    """
    found: dict[object, object] = {}
    name: object = None
    is_call, at = document[:1] in _MAPS, 0
    open_ = [_Open(1)]
    while open_:
        around = open_[-1]
        if not around.left:
            open_.pop()
            continue
        is_name = around.is_name or (around.is_map and around.left % 2 == 0)
        value, items, at = _item(document, at)
        if is_name and isinstance(value, dict | msgspec.msgpack.Ext):
            raise msgspec.DecodeError("MessagePack data is malformed: a map or an extension is a name")
        if is_call and len(open_) == 2:
            if is_name:
                name = value if isinstance(value, str) else None
            elif name in names:
                found[name] = value
        around.left -= 1
        if items:
            open_.append(_Open(items, isinstance(value, dict), is_name))
            if len(open_) > _DEEPEST:
                raise RecursionError
    if at != len(document):
        raise msgspec.DecodeError("MessagePack data is malformed: trailing characters")
    return found if is_call else None


def _item(document: bytes, at: int) -> tuple[object, int, int]:
    """The scalar at a place, or an empty array or map; how many items are in it; and where the next one is."""
    shape = _SHAPES.get(document[at]) if at < len(document) else None
    if shape is None:
        raise msgspec.DecodeError("MessagePack data is malformed: truncated, or an unknown type")
    begin = at + shape.size
    count = int.from_bytes(document[at + 1 : at + 1 + shape.digits]) if shape.digits else shape.length
    end = begin if shape.items else begin + count
    if end > len(document):
        raise msgspec.DecodeError("MessagePack data is malformed: truncated")
    if shape.items:
        return ([], {})[shape.items - 1], shape.items * count, end
    return _decode(document[at:end]), 0, end
