"""Releases of Apache Kafka other than the embedded one: the tests run on them, too."""

import os
from pathlib import Path

OLDEST = "3.5.2"
"""Of the oldest release that is supported, see `streams.kafka.errors.meanings.OLDEST_KAFKA`."""

OTHERS = (OLDEST, "3.9.1")


def jars_of(version: str) -> Path:
    """The list of its jars."""
    return Path(__file__).parents[1] / "data" / f"kafka-{version}.txt"


def chosen() -> Path | None:
    """The release in `TEST_KAFKA`; None is the one that is delivered."""
    version = os.environ.get("TEST_KAFKA")
    return jars_of(version) if version else None
