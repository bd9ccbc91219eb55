"""What settings take: each kind has a description, a parser, and a formatter."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streams.settings.durations import format_duration, parse_duration

FOREVER = -1
"""The retention that keeps every record, as Kafka writes it."""


@dataclass(frozen=True)
class Kind:
    """What a setting takes: a description, a parser that raises ValueError, and a formatter."""

    takes: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str


def _at_most(limit: int, value: int) -> int:
    if value > limit:
        raise ValueError(value)
    return value


def duration(most: str = "3650d") -> Kind:
    """A duration, in milliseconds."""
    limit = parse_duration(most)
    takes = f"a duration such as 250ms, 30s or 6h, at most {most}"
    return Kind(takes, lambda text: _at_most(limit, parse_duration(text)), format_duration)


def retention() -> Kind:
    """A duration or `FOREVER`, in milliseconds."""
    times = duration()
    return Kind(
        f"{times.takes}, or forever",
        lambda text: FOREVER if text == "forever" else times.parse(text),
        lambda ms: "forever" if ms == FOREVER else format_duration(ms),
    )


def whole(low: int, high: int) -> Kind:
    """A whole number; both bounds are included."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return Kind(f"a whole number from {low} to {high}", parse)


def one_of(*choices: str) -> Kind:
    """One of a few words, case-insensitive."""
    spelled = {choice.lower(): choice for choice in choices}
    words = " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))

    def parse(text: str) -> str:
        if text.lower() not in spelled:
            raise ValueError(text)
        return spelled[text.lower()]

    return Kind(words, parse)


FLAG = Kind(
    "true or false", lambda text: one_of("true", "false").parse(text) == "true", lambda on: str(on).lower()
)


def text(takes: str, pattern: str) -> Kind:
    """Text that matches a pattern as a whole."""
    compiled = re.compile(pattern, re.ASCII | re.DOTALL)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(text)
        return text

    return Kind(takes, parse)


def _addresses(text: str) -> str:
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        found = re.fullmatch(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\]):([0-9]{1,5})", part)
        if not found or not 0 < int(found[1]) < 65536:
            raise ValueError(text)
    return ",".join(parts)


ADDRESSES = Kind("host:port,…", _addresses)
TOPIC = text(
    "a topic name: 1 to 249 letters, digits, dots, underscores and hyphens", r"(?!\.{1,2}$)[\w.-]{1,249}"
)
# The longest name made from it is that of the changelog topic, which must be a legal topic name too.
APP_ID = text("1 to 200 letters, digits, dots, underscores and hyphens", r"[\w.-]{1,200}")
NAME = text("text without blanks", r"[^\s\x00-\x1f]{1,249}")
LINE = text("one line of text", r"[^\x00-\x1f\x7f]+")
TOKEN = text("letters, digits and -._~+/= (a bearer token)", r"[\w.~+/-]+=*")
HOST = text("an address or host name to listen on", r"[A-Za-z0-9._:%-]+")
URL = text(
    "a URL such as http://worker-0.example.com:6066",
    r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\])(:[0-9]{1,5})?",
)
PEM = text("PEM text (a file is named with _FILE)", r"\s*-----BEGIN .*")
