"""The rooms of `streams` (its folders, and the files beside them), and the picture of which needs which.

`make picture` writes docs/architecture.svg from the imports.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PICTURE: Final = ROOT / "docs" / "architecture.svg"
#: `streams/codecs` is a link, which rglob does not follow.
SOURCES: Final = sorted({*(ROOT / "streams").rglob("*.py"), *(ROOT / "streams" / "codecs").rglob("*.py")})
MODULES: Final = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in SOURCES}
#: What is in each room that the picture shows; those that serve all others are left out.
SHOWN: Final = {
    "cli": "one file per command",
    "worker": "process, health, metrics, HTTP",
    "embedded": "Apache Kafka on this machine",
    "operations": "look up, redrive, replay, simulate",
    "wiring": "the stages and their topics",
    "calls": "the life of a call, pure",
    "kafka": "connections, topics, reading",
    "codecs": "bytes to records and back, pure",
    "engine": "batches, state, transactions",
    "settings": "every setting",
}

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 236, 54, 24, 40, 12
_STYLE: Final = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328; text-anchor: middle }
.name { font-weight: 600; font-size: 15px }
rect { fill: #f6f8fa; stroke: #59636e }
path { stroke: #59636e; fill: none }
marker path { fill: #59636e; stroke: none }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
rect { fill: #151b23; stroke: #9198a1 }
path { stroke: #9198a1 }
marker path { fill: #9198a1 }
}
"""


def room_of(name: str) -> str:
    """The room of a file, given by its path from the repository's root."""
    return Path(name).parts[1].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def needed_by(name: str) -> set[str]:
    """The other rooms that a file imports from."""
    ours = {each.split(".")[1] for each in imports(MODULES[name]) if each.startswith("streams.")}
    return ours - {room_of(name)}


def _needs() -> dict[str, set[str]]:
    needs = {room: set[str]() for room in SHOWN}
    for name in MODULES:
        if room_of(name) in needs:
            needs[room_of(name)] |= needed_by(name) & SHOWN.keys()
    return needs


def _below(room: str, needs: Mapping[str, set[str]]) -> set[str]:
    return set().union(*({each} | _below(each, needs) for each in needs[room]))


def _direct(needs: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """The arrows that are needed: none to a room that another arrow leads to as well."""
    return [
        (room, each)
        for room in needs
        for each in sorted(needs[room])
        if not any(each in _below(other, needs) for other in needs[room])
    ]


def _rows(needs: Mapping[str, set[str]]) -> list[list[str]]:
    """The rooms from top to bottom, each below all that need it."""
    rows: list[list[str]] = []
    left = list(SHOWN)
    while left:
        rows.append([room for room in left if not any(room in needs[other] for other in left)])
        left = [room for room in left if room not in rows[-1]]
    return rows


def picture() -> str:
    """docs/architecture.svg."""
    needs = _needs()
    rows = _rows(needs)
    width = max(map(len, rows)) * (_WIDTH + _GAP_X) - _GAP_X + 2 * _MARGIN
    height = len(rows) * (_HEIGHT + _GAP_Y) - _GAP_Y + 2 * _MARGIN
    places: dict[str, tuple[float, float]] = {}  # the middle of the upper edge
    for number, row in enumerate(rows):
        left = (width - len(row) * (_WIDTH + _GAP_X) + _GAP_X) / 2
        for column, room in enumerate(row):
            places[room] = (
                left + column * (_WIDTH + _GAP_X) + _WIDTH / 2,
                _MARGIN + number * (_HEIGHT + _GAP_Y),
            )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            "<title>Which part of streams imports which</title>",
            f"<style>\n{_STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>',
            *(_arrow(places[upper], places[lower]) for upper, lower in _direct(needs)),
            *(_box(room, *places[room]) for room in SHOWN),
            "</svg>\n",
        ]
    )


def _arrow(upper: tuple[float, float], lower: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = upper, lower
    return f'<path d="M{x1:g} {y1 + _HEIGHT:g}L{x2:g} {y2:g}" marker-end="url(#tip)"/>'


def _box(room: str, middle: float, top: float) -> str:
    return (
        f'<rect x="{middle - _WIDTH / 2:g}" y="{top:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>'
        f'<text class="name" x="{middle:g}" y="{top + 22:g}">{room}</text>'
        f'<text x="{middle:g}" y="{top + 42:g}">{escape(SHOWN[room])}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(picture())
