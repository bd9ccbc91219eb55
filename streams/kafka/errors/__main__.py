"""docs/errors.md, written from the table of meanings: python -m streams.kafka.errors > docs/errors.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streams.kafka.errors.meanings import OWN, ROWS, SIGNS, Path

_PATHS: Final[dict[Path, str]] = {
    "connection": "Reaching the brokers",
    "login": "Logging in",
    "rights": "Rights",
    "group": "The consumer group",
    "reading": "Reading",
    "writing": "Writing",
    "transactions": "Transactions",
    "topics": "Making and changing topics",
    "ours": "Faults of this program or its client",
    "others": "All others",
}


_INTRODUCTION = """\
# What errors mean

Every command ends with exit code 1 and one line, `error: …`, when the settings, the data or the surroundings are in the
way; a worker's log ends with the same line. It says what was wrong and where, what that means for the data, and what to
do next. A traceback is a fault of this program: report it.

Whatever the line is: what a worker has committed stays, and what it has not is done again by the next start. Never move
the group's offsets, delete the changelog or recreate a topic because of an error, unless its line says so.

## Errors of this program

| when | what to do |
|---|---|
"""

_REFUSED = """
## Connections that are refused

Beside `no Kafka broker answers at …`, which ends with the reason of the operating system: *the Kafka brokers at …*

"""

_KAFKA = """
## Errors of Kafka

By the name at the end of the line. Topic, partition and offsets stand at its beginning where they are known.
"""


def reference() -> str:
    """docs/errors.md."""
    own = "".join(f"| {when} | {do} |\n" for when, do in OWN.values())
    refused = "".join(f"- {meaning}\n" for meaning in SIGNS.values())
    return _INTRODUCTION + own + _REFUSED + refused + _KAFKA + "".join(_sections())


def _sections() -> Iterator[str]:
    for path, heading in _PATHS.items():
        yield f"\n### {heading}\n\n| error | meaning | for the data | what to do |\n|---|---|---|---|\n"
        for names, meaning in ROWS:
            if meaning.path == path:
                listed = ", ".join(f"`{name}`" for name in names.split())
                yield f"| {listed} | {meaning.says} | {meaning.data} | {meaning.do} |\n"


if __name__ == "__main__":
    print(reference(), end="")
