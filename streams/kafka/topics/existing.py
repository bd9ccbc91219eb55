"""A topic as it exists, and what may be wrong with one of its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from streams.kafka.topics.specification import Topic
from streams.settings import Settings

Severity: TypeAlias = Literal["warning", "error"]


@dataclass(frozen=True)
class Existing:
    """A topic as the brokers have it."""

    partitions: int
    replicas: int
    config: Mapping[str, str]


class Case(NamedTuple):
    """A setting of one topic, looked at: `value` is what it has."""

    setting: str
    value: str
    topic: Topic
    existing: Existing
    settings: Settings
    #: The calls topic, if it exists.
    calls: Existing | None


class Fault(NamedTuple):
    """What is wrong with a setting, and the value that puts it right (None: no value of it does)."""

    severity: Severity
    message: str
    wanted: str | None = None
    setting: str = ""


def policies(value: str) -> frozenset[str]:
    """The cleanup policies that a topic has."""
    return frozenset(filter(None, value.replace(" ", "").split(",")))
