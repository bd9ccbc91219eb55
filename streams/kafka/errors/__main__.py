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
    "topics": "Creating and changing topics",
    "ours": "Faults of this program or its client",
    "others": "Others",
}


_INTRODUCTION = """\
# What errors mean

A command that cannot do its work exits 1 with one line, `error: …`, and a worker's log ends with the same line. The
line says what was wrong and where, what that means for the data, and what to do next. A traceback is a fault of this
program: report it.

Whatever the line says, what a worker has committed stays committed, and what it has not is processed again after the
next start. Never move the group's offsets, delete the changelog or recreate a topic because of an error, unless the
line says so.

## Errors of this program

| when | what to do |
|---|---|
"""

_REFUSED = """
## Connections that are refused

Besides `no Kafka broker answers at …`, which ends with the operating system's reason, the line may say that *the Kafka
brokers at …*

"""

_KAFKA = """
## Errors of Kafka

Look for the name at the end of the line. Topic, partition and offsets are at its beginning, if they are known.
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
