"""The topics as they exist, and what may be wrong with one setting of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import UnknownTopicOrPartitionError

from streams.kafka.topics.specification import Topic, everything
from streams.settings import Settings

Severity: TypeAlias = Literal["warning", "error"]


@dataclass(frozen=True)
class Existing:
    """A topic as the brokers have it."""

    partitions: int
    replicas: int
    config: Mapping[str, str]


class Case(NamedTuple):
    """A setting of one topic, to be judged: `value` is its current value."""

    setting: str
    value: str
    topic: Topic
    existing: Existing
    settings: Settings
    #: The calls topic, if it exists.
    calls: Existing | None


class Fault(NamedTuple):
    """What is wrong with a setting, and the value that corrects it (None: no value does)."""

    severity: Severity
    message: str
    wanted: str | None = None
    setting: str = ""


def policies(value: str) -> frozenset[str]:
    """The cleanup policies that a topic has."""
    return frozenset(filter(None, value.replace(" ", "").split(",")))


ExistingTopics: TypeAlias = dict[str, Existing]
"""Topics that exist, by name."""


async def describe(admin: AIOKafkaAdminClient, settings: Settings) -> ExistingTopics:
    """Those of the topics of workers and commands that exist."""
    names = {topic.name for topic in everything(settings)}
    # All topics are requested: requesting some by name creates them if brokers create topics automatically.
    found = {each["topic"]: each["partitions"] for each in await admin.describe_topics()}
    ours = {name: partitions for name, partitions in found.items() if name in names and partitions}
    configs = await _configs(admin, ours)
    return {
        name: Existing(len(partitions), min(len(each["replicas"]) for each in partitions), configs[name])
        for name, partitions in ours.items()
        if name in configs
    }


async def _configs(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Their settings; none for a topic whose settings may not be read, which is not reported.

    Topics that the queried broker does not know, or does not know yet, are missing.
    """
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(asked):
        for code, _, _, name, entries in response.resources:
            if code != UnknownTopicOrPartitionError.errno:
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found
