"""Which topics are needed, and what is said about those that exist."""

import asyncio
from dataclasses import replace

import pytest
from support.kafka import create_topics

from streams import topics
from streams.engine.store import OLDEST
from streams.settings import FOREVER, Settings
from streams.topics import Existing, Finding, TopicsError

SETTINGS = Settings()
CHANGELOG = SETTINGS.changelog_topic


def cluster(**changes: dict[str, object]) -> dict[str, Existing]:
    """A cluster as `create` makes it, with changes to single topics: `calls=dict(partitions=3)`."""
    found = {topic.name: Existing(4, 1, dict(topic.config)) for topic in topics.needed(SETTINGS)}
    names = dict(zip(("calls", "completed", "kpis", "dead", "changelog"), found, strict=True))
    for short, change in changes.items():
        name, partitions = names[short], change.pop("partitions", 4)
        config = {key.replace("_", "."): str(value) for key, value in change.items()}
        found[name] = Existing(int(str(partitions)), 1, {**found[name].config, **config})
    return found


def faults(found: dict[str, Existing]) -> list[tuple[str, str, str]]:
    said = topics.findings(SETTINGS, found)
    return [(each.topic, each.verdict, each.message) for each in said if each.verdict != "ok"]


def test_the_needed_topics_clean_up_as_the_contract_says() -> None:
    policies = {topic.name: topic.config["cleanup.policy"] for topic in topics.needed(SETTINGS)}
    assert policies == {
        "telefonie.calls": "delete",
        "telefonie.calls.completed": "compact,delete",
        "telefonie.calls.kpis": "compact,delete",
        "telefonie.calls.dead": "delete",
        "telefonie-calls-calls-changelog": "compact",
    }


def test_the_changelog_keeps_state_for_ever_and_is_compacted_soon() -> None:
    config = topics.needed(SETTINGS)[-1].config
    assert (config["retention.ms"], config["segment.ms"]) == ("-1", "3600000")
    assert config["min.cleanable.dirty.ratio"] == "0.1"
    assert config["segment.bytes"] == str(16 << 20)
    assert config["delete.retention.ms"] == str(2 * OLDEST)


def test_with_repartition_there_is_a_topic_more_and_how_far_it_is() -> None:
    needed = topics.needed(replace(SETTINGS, repartition=True))
    roles = {topic.name: (topic.role, topic.source) for topic in needed}
    internal = "telefonie-calls-repartition"
    assert roles["telefonie-calls-repartition"] == ("repartition", "telefonie.calls")
    assert roles["telefonie-calls-repartition-changelog"] == ("changelog", "telefonie.calls")
    assert {roles[name] for name in roles if "kpis" in name or "dead" in name} == {("output", internal)}
    assert roles[CHANGELOG] == ("changelog", internal)
    config = next(topic.config for topic in needed if topic.name == internal)
    # Late and early records keep their timestamps, as in the calls topic.
    assert config["cleanup.policy"] == "delete"
    assert config["message.timestamp.type"] == "CreateTime"
    assert config["message.timestamp.after.max.ms"] == str(2**63 - 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"partitions": 3}, "has 3 partitions, telefonie.calls has 4: adding some would part calls from"),
        ({"retention.ms": "3600000"}, "keeps records for 1h, less than telefonie.calls 7d"),
        ({"max.message.bytes": "1000"}, "takes max.message.bytes 1000, the calls topic 1048588"),
        ({"message.timestamp.type": "LogAppendTime"}, "event times become the times of arrival"),
    ],
)
def test_what_differs_in_the_repartition_topic(change: dict[str, object], message: str) -> None:
    settings = replace(SETTINGS, repartition=True)
    found = {topic.name: Existing(4, 1, dict(topic.config)) for topic in topics.needed(settings)}
    found["telefonie.calls"].config["max.message.bytes"] = "1048588"  # type: ignore[index]
    assert {each.verdict for each in topics.findings(settings, found)} == {"ok"}
    config = {**found[settings.repartition_topic].config, **change}
    partitions = int(str(config.pop("partitions", 4)))
    found[settings.repartition_topic] = Existing(partitions, 1, config)  # type: ignore[arg-type]
    if partitions == 3:  # these follow it
        found |= {n: replace(e, partitions=3) for n, e in found.items() if "changelog" in n or "calls." in n}
        found["telefonie-calls-repartition-changelog"] = Existing(4, 1, topics.needed(settings)[2].config)
    said = [each for each in topics.findings(settings, found) if each.verdict != "ok"]
    assert [(each.topic, each.verdict) for each in said] == [(settings.repartition_topic, "warning")]
    assert message in said[0].message


def test_retention_is_a_setting() -> None:
    settings = replace(SETTINGS, input_retention=3_600_000, output_retention=FOREVER)
    retention = [topic.config["retention.ms"] for topic in topics.needed(settings)]
    assert retention == ["3600000", "-1", "-1", "-1", "-1"]


def test_topics_as_they_are_made_are_fine() -> None:
    assert topics.findings(SETTINGS, cluster())[0] == Finding(
        "telefonie.calls", "ok", "4 partitions, 1 replica, cleanup delete"
    )
    assert not faults(cluster())


def test_missing_topics() -> None:
    said = faults({})
    assert [verdict for _, verdict, _ in said] == ["error"] * 4 + ["warning"]
    assert said[0][2].startswith("is missing: run `telefonie topics create`")
    assert said[-1] == (CHANGELOG, "warning", "is missing: the first worker makes it")


@pytest.mark.parametrize(
    ("changes", "verdict", "message"),
    [
        ({"completed": {"partitions": 3}}, "warning", "several input partitions share one of these"),
        ({"changelog": {"partitions": 2}}, "error", "has 2 partitions, telefonie.calls has 4: add 2"),
        ({"dead": {"partitions": 6}}, "warning", "those past the first 4 stay empty"),
        ({"changelog": {"cleanup_policy": "delete"}}, "error", "cleanup.policy delete, needed is compact"),
        ({"changelog": {"cleanup_policy": "compact,delete"}}, "error", "state would be deleted"),
        ({"calls": {"cleanup_policy": "compact"}}, "error", "events would be removed before they are read"),
        ({"completed": {"cleanup_policy": "delete"}}, "warning", "has cleanup.policy delete"),
        ({"changelog": {"segment_bytes": 1 << 30}}, "warning", "has segment.bytes 1073741824, set it to 16777216"),
        ({"changelog": {"delete_retention_ms": 86_400_000}}, "warning", "set it to 7200000: for so long a restart"),
        ({"changelog": {"delete_retention_ms": 500_000}}, "warning", "to 7200000: a worker that restores for longer"),
        ({"calls": {"message_timestamp_type": "LogAppendTime"}}, "warning", "the times of arrival"),
        ({"dead": {"retention_ms": 3_600_000}}, "warning", "keeps records for 1h, less than TELEFONIE_CALL"),
        ({"dead": {"max_message_bytes": 1_048_588}, "calls": {"max_message_bytes": 1_048_588}}, "warning",
         "takes max.message.bytes 1048588, the calls topic 1048588"),
    ],
)  # fmt: skip
def test_what_differs_is_said(changes: dict[str, dict[str, object]], verdict: str, message: str) -> None:
    [(_, said, text)] = faults(cluster(**{name: dict(change) for name, change in changes.items()}))
    assert said == verdict
    assert message in text


def test_the_order_of_cleanup_policies_does_not_matter() -> None:
    assert not faults(cluster(completed={"cleanup_policy": "delete, compact"}))


def test_what_may_not_be_described_is_not_complained_about() -> None:
    assert not faults({name: Existing(4, 1, {}) for name in cluster()})


@pytest.fixture
def settings(kafka: str, topic_name: str) -> Settings:
    return Settings(
        brokers=kafka, app_id=topic_name, calls_topic=topic_name, completed_topic=f"{topic_name}.completed",
        kpis_topic=f"{topic_name}.kpis", dead_topic=f"{topic_name}.dead",
    )  # fmt: skip


@pytest.mark.kafka
def test_a_worker_makes_its_changelog_and_nothing_else(settings: Settings) -> None:
    names = [topic.name for topic in topics.needed(settings)]
    for name in names[:4]:
        with pytest.raises(TopicsError, match=f"topic {name} is missing: run `telefonie topics create`"):
            asyncio.run(topics.prepare(settings))
        create_topics(settings.brokers or "", name, partitions=3)
    assert asyncio.run(topics.prepare(settings)) == 3
    found = asyncio.run(topics.check(settings))[-1]
    assert found == Finding(settings.changelog_topic, "ok", "3 partitions, 1 replica, cleanup compact")
    assert asyncio.run(topics.prepare(settings)) == 3


@pytest.mark.kafka
def test_a_worker_refuses_a_changelog_with_fewer_partitions_than_the_source(settings: Settings) -> None:
    asyncio.run(topics.create(replace(settings, partitions=2)))
    grown = replace(settings, calls_topic=f"{settings.calls_topic}-4")
    create_topics(settings.brokers or "", grown.calls_topic, partitions=4)
    others = {"completed_topic": "c", "kpis_topic": "k", "dead_topic": "d"}
    grown = replace(grown, **{field: f"{grown.calls_topic}.{end}" for field, end in others.items()})
    create_topics(
        settings.brokers or "", grown.completed_topic, grown.kpis_topic, grown.dead_topic, partitions=4
    )
    with pytest.raises(
        TopicsError, match=f"topic {settings.changelog_topic} has 2 partitions, .* has 4: add 2"
    ):
        asyncio.run(topics.prepare(grown))
