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
