"""Durations as people write them: in settings, on the command line, in queries and in messages."""

from __future__ import annotations

import re

_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_duration(text: str) -> int:
    """A duration such as `250ms`, `30s`, `5m`, `6h`, `1d` in milliseconds; ValueError for anything else."""
    found = re.fullmatch(r"([0-9]{1,12})(ms|s|m|h|d)", text)
    if not found or not int(found[1]):
        raise ValueError(text)
    return int(found[1]) * _MS[found[2]]


def format_duration(ms: int) -> str:
    """Milliseconds as the shortest exact duration: 90000 is `90s`, 3600000 is `1h`."""
    unit = next(unit for unit in reversed(_MS) if ms % _MS[unit] == 0)
    return f"{ms // _MS[unit]}{unit}"


def approximate_duration(seconds: float) -> str:
    """The two largest units of a duration, for people: `2d 3h`, `1h 12m`, `5m 7s`; `0s` for a negative one."""
    left, parts = max(0, int(seconds * 1000)), list[str]()
    for unit, size in reversed(_MS.items()):
        n, left = divmod(left, size)
        if unit != "ms" and (n or parts or unit == "s"):
            parts.append(f"{n}{unit}")
    return " ".join(parts[:2])
