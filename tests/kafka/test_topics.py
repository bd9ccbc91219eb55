"""Which topics are needed, and what is said about those that exist."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidConfigurationError
from support.kafka import Record, create_topics, grow, produce, read_topic

from streams.embedded import Cluster
from streams.engine.store import OLDEST
from streams.kafka import topics
from streams.kafka.topics import Existing, Finding, TopicsError, admin
from streams.kafka.topics.__main__ import reference
from streams.kafka.topics.comparison import changes, growth
from streams.kafka.topics.rules import RULES
from streams.kafka.topics.specification import LARGEST, OUTPUTS, in_sync
from streams.settings import FOREVER, Settings

SETTINGS = Settings()
CHANGELOG = SETTINGS.changelog_topic
ANY = str(2**63 - 1)
OLDER = {"message.downconversion.enable", "message.format.version", "message.timestamp.difference.max.ms"}


def cluster(**changes: dict[str, object]) -> dict[str, Existing]:
    """A cluster as `create` makes it, with changes to single topics: `calls=dict(partitions=3)`."""
    found = {topic.name: Existing(4, 1, dict(topic.config)) for topic in topics.everything(SETTINGS)}
    names = dict(zip(("calls", "completed", "kpis", "dead", "changelog", "redriven"), found, strict=True))
    for short, change in changes.items():
        name, partitions, replicas = names[short], change.pop("partitions", 4), change.pop("replicas", 1)
        config = {key.replace("_", "."): str(value) for key, value in change.items()}
        config = {**found[name].config, **config}
        found[name] = Existing(int(str(partitions)), int(str(replicas)), config)
    return found


def faults(found: dict[str, Existing]) -> list[tuple[str, str, str]]:
    said = topics.findings(SETTINGS, found)
    return [(each.topic, each.verdict, each.message) for each in said if each.verdict != "ok"]


def test_the_needed_topics_clean_up_as_the_contract_says() -> None:
    policies = {topic.name: topic.config["cleanup.policy"] for topic in topics.everything(SETTINGS)}
    assert policies == {
        "telefonie.calls": "delete",
        "telefonie.calls.completed": "compact,delete",
        "telefonie.calls.kpis": "compact,delete",
        "telefonie.calls.dead": "delete",
        "telefonie-calls-calls-changelog": "compact",
        "telefonie.calls.dead-redriven": "compact",
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
    assert {roles[name] for name in roles if "kpis" in name or "dead" in name} == {
        ("kpis", internal),
        ("dead", internal),
    }
    assert roles[CHANGELOG] == ("changelog", internal)
    config = next(topic.config for topic in needed if topic.name == internal)
    # Late and early records keep their timestamps, as in the calls topic.
    assert config["cleanup.policy"] == "delete"
    assert config["message.timestamp.type"] == "CreateTime"
    assert config["message.timestamp.after.max.ms"] == str(2**63 - 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"retention.ms": "3600000"},
            "keeps records for 1h (retention.ms 3600000), less than telefonie.calls 7d",
        ),
        ({"retention.bytes": "1000000"}, "removed before they are read"),
        ({"message.timestamp.type": "LogAppendTime"}, "event times become the times of arrival"),
        ({"message.timestamp.after.max.ms": "3600000"}, "gets the time at which it is written"),
        ({"message.timestamp.before.max.ms": str(365 * 86_400_000)}, "an older event gets"),
        (
            {"message.timestamp.difference.max.ms": "3600000"},
            "has message.timestamp.difference.max.ms 3600000",
        ),
    ],
)
def test_what_differs_in_the_repartition_topic(change: dict[str, str], message: str) -> None:
    settings = replace(SETTINGS, repartition=True)
    found = {topic.name: Existing(4, 1, dict(topic.config)) for topic in topics.everything(settings)}
    assert {each.verdict for each in topics.findings(settings, found)} == {"ok"}
    config = {**found[settings.repartition_topic].config, **change}
    found[settings.repartition_topic] = Existing(4, 1, config)
    said = [each for each in topics.findings(settings, found) if each.verdict != "ok"]
    assert [(each.topic, each.verdict) for each in said] == [(settings.repartition_topic, "warning")]
    assert message in said[0].message


def test_the_repartition_topic_may_have_fewer_partitions_than_the_calls_topic() -> None:
    settings = replace(SETTINGS, repartition=True)
    found = {topic.name: Existing(3, 1, dict(topic.config)) for topic in topics.everything(settings)}
    for name in (settings.calls_topic, settings.repartition_changelog_topic):
        found[name] = replace(found[name], partitions=4)
    assert {each.verdict for each in topics.findings(settings, found)} == {"ok"}
    del found[settings.completed_topic]
    assert growth(settings, found) == {}
    found[settings.calls_topic] = replace(found[settings.calls_topic], partitions=6)
    assert growth(settings, found) == {settings.repartition_changelog_topic: 6}


def test_retention_is_a_setting() -> None:
    settings = replace(SETTINGS, input_retention=3_600_000, output_retention=FOREVER)
    retention = [topic.config["retention.ms"] for topic in topics.needed(settings)]
    assert retention == ["3600000", "-1", "-1", "-1", "-1"]


@pytest.mark.parametrize(("replicas", "least"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_majority_of_the_replicas_is_in_sync(replicas: int, least: int) -> None:
    assert in_sync(replicas) == least


def test_what_is_written_fits_kafkas_own_limit() -> None:
    roles = {topic.role for topic in topics.everything(replace(SETTINGS, repartition=True))}
    assert set(LARGEST) == roles - {"calls"}
    assert max(LARGEST.values()) < 1 << 20
    # What an organisation may allow at most, without a complaint of ours.
    assert max(LARGEST.values()) < 262_144
    for topic in topics.needed(replace(SETTINGS, repartition=True))[1:]:
        assert int(topic.config["max.message.bytes"]) >= 1 << 20


def test_topics_as_they_are_made_are_fine() -> None:
    assert topics.findings(SETTINGS, cluster())[0] == Finding(
        "telefonie.calls", "ok", "4 partitions, 1 replica, cleanup delete"
    )
    assert not faults(cluster())


def test_missing_topics() -> None:
    said = faults({})
    assert [verdict for _, verdict, _ in said] == ["error"] * 4 + ["warning"] * 2
    assert said[0][2].startswith("is missing: run `telefonie topics create`")
    assert said[-2] == (CHANGELOG, "warning", "is missing: the first worker creates it")


@pytest.mark.parametrize(
    ("changes", "verdict", "message", "wanted"),
    [
        ({"completed": {"partitions": 3}}, "warning", "share one of these; `telefonie topics create` adds 1", None),
        ({"changelog": {"partitions": 2}}, "error", "has 2 partitions, telefonie.calls has 4: partitions from 2 on are "
         "not read until `telefonie topics create` adds 2", None),
        ({"dead": {"partitions": 6}}, "warning", "those past the first 4 stay empty", None),
        ({"changelog": {"cleanup_policy": "delete"}}, "error", "cleanup.policy delete, needs compact", "compact"),
        ({"changelog": {"cleanup_policy": "compact,delete"}}, "error", "state would be deleted", "compact"),
        ({"changelog": {"cleanup_policy": ""}}, "warning", "has cleanup.policy none", "compact"),
        ({"calls": {"cleanup_policy": "compact"}}, "error", "events would be removed before they are read", "delete"),
        ({"completed": {"cleanup_policy": "delete"}}, "warning", "superseded revisions stay", "compact,delete"),
        ({"completed": {"cleanup_policy": "compact"}}, "warning", "it grows for ever", "compact,delete"),
        ({"dead": {"cleanup_policy": "compact,delete"}}, "error", "a dead letter without a key is refused", "delete"),
        ({"redriven": {"cleanup_policy": "compact,delete"}}, "error", "could be sent again", "compact"),
        ({"redriven": {"max_message_bytes": 1_000}}, "error", "and a redrive would stop", "1024"),
        ({"redriven": {"min_insync_replicas": 1, "replicas": 3}}, "warning", "may lie on one broker only", "2"),
        ({"redriven": {"unclean_leader_election_enable": "true"}}, "warning", "may lose acknowledged records", "false"),
        ({"dead": {"compression_type": "uncompressed"}}, "warning", "records that fit only if", "producer"),
        ({"changelog": {"delete_retention_ms": 86_400_000}}, "warning", "7200000: for this long a restart", "7200000"),
        ({"changelog": {"delete_retention_ms": 500_000}}, "warning", "a worker that restores for longer", "7200000"),
        *(({name: {"max_message_bytes": LARGEST[name] - 1}}, "error", f"set it to {LARGEST[name]} or more", wanted)
          for name, wanted in (("completed", "1048588"), ("kpis", "1048588"), ("changelog", "1048588"),
                               ("dead", "2097152"))),
        ({"kpis": {"message_timestamp_after_max_ms": 299_999}}, "warning", "TELEFONIE_MAX_CLOCK_SKEW 5m", ANY),
        ({"calls": {"message_timestamp_before_max_ms": 86_399_999}}, "warning", "refuse late events", ANY),
        ({"dead": {"message_timestamp_before_max_ms": 86_400_000}}, "warning", "less than half of its", ANY),
        ({"dead": {"message_timestamp_difference_max_ms": 86_400_000}}, "warning", "less than half of its", ANY),
        ({"calls": {"message_timestamp_type": "LogAppendTime"}}, "warning", "the times of arrival", "CreateTime"),
        ({"kpis": {"message_timestamp_type": "LogAppendTime"}}, "warning", "lose their event times", "CreateTime"),
        ({"changelog": {"message_timestamp_type": "CreateTime"}}, "warning", "by their own clocks", "LogAppendTime"),
        ({"changelog": {"min_cleanable_dirty_ratio": 0.6}}, "warning", "reads more than twice the state", "0.1"),
        ({"changelog": {"min_compaction_lag_ms": 3_600_001}}, "warning", "nothing more recent is compacted", "0"),
        ({"calls": {"min_insync_replicas": 2}}, "warning", "2 of 1 replicas, set it to 1: nothing can be", "1"),
        ({"changelog": {"min_insync_replicas": 2}}, "error", "2 of 1 replicas, set it to 1: nothing can be", "1"),
        ({"kpis": {"min_insync_replicas": 1, "replicas": 3}}, "warning", "may lie on one broker only", "2"),
        ({"kpis": {"min_insync_replicas": 1, "replicas": 2}}, "warning", "may lie on one broker only", "2"),
        ({"kpis": {"min_insync_replicas": 3, "replicas": 3}}, "warning", "while any of its brokers is down", "2"),
        ({"kpis": {"min_insync_replicas": 2, "replicas": 2}}, "warning", "one of the two brokers is down", None),
        ({"calls": {"retention_bytes": 1 << 30}}, "warning", "1073741824 a partition, set it to -1", "-1"),
        ({"completed": {"retention_bytes": 1 << 30}}, "warning", "removed however recent they are", "-1"),
        ({"calls": {"retention_ms": 60_000}}, "warning", "1m (retention.ms 60000), less than TELEFONIE_INPUT_RETENTION "
         "7d: events that wait longer than that, while no worker runs, are lost", "604800000"),
        ({"dead": {"retention_ms": 3_600_000}}, "warning", "records for 1h (retention.ms 3600000), less than "
         "telefonie.calls 7d: the results of events", "604800000"),
        ({"changelog": {"segment_bytes": 1 << 30}}, "warning", "has segment.bytes 1073741824, set it to", "16777216"),
        ({"changelog": {"segment_ms": 604_800_000}}, "warning", "on a quiet partition, forgotten calls", "3600000"),
        ({"calls": {"unclean_leader_election_enable": "true"}}, "warning", "an election may lose", "false"),
    ],
)  # fmt: skip
def test_what_differs_is_said(
    changes: dict[str, dict[str, object]], verdict: str, message: str, wanted: str | None
) -> None:
    found = cluster(**{name: dict(change) for name, change in changes.items()})
    [said] = [each for each in topics.findings(SETTINGS, found) if each.verdict != "ok"]
    assert said.verdict == verdict
    assert message in said.message
    assert list(said.change.values()) == ([] if wanted is None else [wanted])
    # What is asked for puts it right.
    changed = replace(found[said.topic], config={**found[said.topic].config, **said.change})
    assert not [each for each in topics.findings(SETTINGS, {**found, said.topic: changed}) if each.change]


def test_a_change_that_asks_for_another_brings_it_along() -> None:
    found = cluster(calls={"retention_ms": 60_000}, dead={"retention_ms": 86_400_000})
    longer = str(7 * 86_400_000)
    wanted = {"telefonie.calls": {"retention.ms": longer}}
    assert changes(SETTINGS, found, ["telefonie.calls"]) == wanted
    assert changes(SETTINGS, found) == {**wanted, "telefonie.calls.dead": {"retention.ms": longer}}


def test_outputs_are_kept_for_as_long_as_calls_are_amended() -> None:
    settings = replace(SETTINGS, input_retention=3_600_000)
    found = {topic.name: Existing(4, 1, topic.config) for topic in topics.everything(settings)}
    kept = {**found["telefonie.calls.kpis"].config, "retention.ms": "7200000"}
    found["telefonie.calls.kpis"] = Existing(4, 1, kept)
    [said] = [each for each in topics.findings(settings, found) if each.verdict != "ok"]
    assert "less than TELEFONIE_CALL_RETENTION 1d: amendments need their call" in said.message
    assert said.change == {"retention.ms": "86400000"}


@pytest.mark.parametrize(
    "changes",
    [
        {"completed": {"cleanup_policy": "delete, compact"}},
        {"dead": {"max_message_bytes": 1_048_588}, "calls": {"max_message_bytes": 10_000_000}},
        {"kpis": {"message_timestamp_after_max_ms": 3_600_000}},  # Kafka's default
        {"kpis": {"message_timestamp_type": "CreateTime", "message_timestamp_before_max_ms": ANY}},
        {"calls": {"message_timestamp_after_max_ms": 1}},  # keeps out producers with a wrong clock
        {"changelog": {"retention_bytes": 1}},  # of a compacted topic nothing is removed by size
        {"completed": {"min_insync_replicas": 2, "replicas": 3}},
        {"changelog": {"min_cleanable_dirty_ratio": 0.5}},
    ],
)
def test_what_differs_and_does_not_matter(changes: dict[str, dict[str, object]]) -> None:
    assert not faults(cluster(**{name: dict(change) for name, change in changes.items()}))


def test_the_document_is_that_of_the_rules() -> None:
    assert (Path(__file__).parents[2] / "docs" / "topics.md").read_text() == reference()


def test_what_may_not_be_described_is_not_complained_about() -> None:
    assert not faults({name: Existing(4, 1, {}) for name in cluster()})


@pytest.fixture
def settings(kafka: str, topic_name: str) -> Settings:
    return Settings(
        brokers=kafka, app_id=topic_name, calls_topic=topic_name, completed_topic=f"{topic_name}.completed",
        kpis_topic=f"{topic_name}.kpis", dead_topic=f"{topic_name}.dead",
    )  # fmt: skip


def described(brokers: str, topic: str) -> dict[str, str]:
    """All settings of a topic, as a broker tells them."""

    async def ask() -> dict[str, str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
        await admin.start()
        try:
            while True:  # a broker may not know the topic yet
                [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
                if entries := answer.resources[0][4]:
                    return {entry[0]: entry[1] for entry in entries}
                await asyncio.sleep(0.05)
        finally:
            await admin.close()

    return asyncio.run(ask())


@pytest.mark.kafka
def test_there_is_a_rule_for_every_setting_that_kafka_has(kafka: str, topic_name: str) -> None:
    create_topics(kafka, topic_name)
    assert [rule.setting for rule in RULES if rule.setting not in OLDER] == sorted(
        described(kafka, topic_name)
    )


class OlderBroker:
    """Stands in for the admin client of a broker that knows no limit on timestamps in the future."""

    def __init__(self) -> None:
        self.made: dict[str, Mapping[str, str]] = {}

    async def create_topics(self, new: list[NewTopic]) -> SimpleNamespace:
        errors = []
        for each in new:
            unknown = "message.timestamp.after.max.ms" in each.topic_configs
            code = InvalidConfigurationError.errno if unknown else 0
            said = "Unknown topic config name: message.timestamp.after.max.ms" if unknown else None
            errors.append((each.name, code, said))
            if not unknown:
                self.made[each.name] = each.topic_configs
        return SimpleNamespace(topic_errors=errors)


def test_what_a_broker_does_not_know_is_left_out_and_said() -> None:
    older: Any = OlderBroker()
    new = [(topic, 1) for topic in topics.everything(SETTINGS)]
    said = asyncio.run(admin._new(older, new, 1))
    assert {each.topic for each in said} == {topic.name for topic, _ in new if topic.role in OUTPUTS}
    assert {each.verdict for each in said} == {"warning"}
    assert said[0].message.startswith(
        "was created without message.timestamp.after.max.ms, which these brokers do not"
    )
    for topic, _ in new:
        left = {**topic.config, "min.insync.replicas": "1"}
        left.pop("message.timestamp.after.max.ms", None)
        assert older.made[topic.name] == left


@pytest.mark.kafka
def test_a_worker_makes_its_changelog_and_nothing_else(settings: Settings) -> None:
    names = [topic.name for topic in topics.needed(settings)]
    for name in names[:4]:
        with pytest.raises(TopicsError, match=f"topic {name} is missing: run `telefonie topics create`"):
            asyncio.run(topics.prepare(settings))
        create_topics(settings.brokers or "", name, partitions=3)
    assert asyncio.run(topics.prepare(settings)) == 3
    *_, changelog, notes = asyncio.run(topics.check(settings))
    assert changelog == Finding(settings.changelog_topic, "ok", "3 partitions, 1 replica, cleanup compact")
    assert (notes.topic, notes.verdict) == (settings.redriven_topic, "warning")
    assert notes.message == "is missing: `telefonie topics create` or the first redrive creates it"
    assert asyncio.run(topics.prepare(settings)) == 3


@pytest.mark.kafka
def test_a_worker_warns_of_a_changelog_with_fewer_partitions_than_the_source(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(topics.create(replace(settings, partitions=2)))
    grown = replace(settings, calls_topic=f"{settings.calls_topic}-4")
    create_topics(settings.brokers or "", grown.calls_topic, partitions=4)
    others = {"completed_topic": "c", "kpis_topic": "k", "dead_topic": "d"}
    grown = replace(grown, **{field: f"{grown.calls_topic}.{end}" for field, end in others.items()})
    create_topics(
        settings.brokers or "", grown.completed_topic, grown.kpis_topic, grown.dead_topic, partitions=4
    )
    assert asyncio.run(topics.prepare(grown)) == 4
    assert re.search(f"topic {settings.changelog_topic} has 2 partitions, .* has 4: .* adds 2", caplog.text)


#: What the first release made topics with, by their roles.
_LARGE = {
    "message.timestamp.type": "CreateTime",
    "max.message.bytes": "2097152",
    "message.timestamp.after.max.ms": ANY,
}
_KEPT = {**_LARGE, "retention.ms": "31536000000", "min.insync.replicas": "1"}
FORMER = {
    "calls": {
        "message.timestamp.type": "CreateTime",
        "cleanup.policy": "delete",
        "retention.ms": "604800000",
    },
    "completed": {**_KEPT, "cleanup.policy": "compact,delete"},
    "kpis": {**_KEPT, "cleanup.policy": "compact,delete"},
    "dead": {**_KEPT, "cleanup.policy": "delete"},
    "redriven": {"cleanup.policy": "compact", "retention.ms": "-1", "min.insync.replicas": "1"},
    "changelog": {
        **_LARGE,
        "min.insync.replicas": "1",
        "cleanup.policy": "compact",
        "retention.ms": "-1",
        "min.cleanable.dirty.ratio": "0.1",
        "segment.ms": "3600000",
        "segment.bytes": "16777216",
        "delete.retention.ms": "7200000",
    },
}


@pytest.mark.kafka
def test_of_a_group_of_the_first_release_only_the_changelog_is_changed(settings: Settings) -> None:
    brokers, changelog = settings.brokers or "", settings.changelog_topic
    for topic in topics.everything(settings):
        create_topics(brokers, topic.name, partitions=4, config=FORMER[topic.role])
    said = [each for each in asyncio.run(topics.check(settings)) if each.verdict != "ok"]
    assert [(each.topic, each.verdict) for each in said] == [(changelog, "warning")]
    assert said[0].message.startswith("has message.timestamp.type CreateTime, set it to LogAppendTime: ")
    wanted = {changelog: {"message.timestamp.type": "LogAppendTime"}}
    assert asyncio.run(topics.alter(settings, dry_run=True)) == wanted
    before = described(brokers, changelog)
    assert before["message.timestamp.type"] == "CreateTime"
    assert asyncio.run(topics.alter(settings, [settings.calls_topic])) == {}
    assert asyncio.run(topics.alter(settings)) == wanted
    assert described(brokers, changelog) == {**before, "message.timestamp.type": "LogAppendTime"}
    assert asyncio.run(topics.alter(settings)) == {}
    with pytest.raises(TopicsError, match="topic other is not one of those that the settings name"):
        asyncio.run(topics.alter(settings, ["other"]))


@pytest.mark.kafka
def test_where_the_calls_topic_has_grown_the_others_follow(settings: Settings) -> None:
    brokers = settings.brokers or ""
    asyncio.run(topics.create(replace(settings, partitions=2)))
    produce(brokers, settings.changelog_topic, [Record(b"state", b"call", partition=1)])
    grow(brokers, settings.calls_topic, 5)
    assert [each.verdict for each in asyncio.run(topics.check(settings))] == [
        "ok", "warning", "warning", "warning", "error", "ok",
    ]  # fmt: skip
    said = asyncio.run(topics.create(settings))
    assert [(each.topic, each.verdict, each.message) for each in said[1:-1]] == [
        (name, "grown", "has 5 partitions now, 3 of them new")
        for name in [topic.name for topic in topics.needed(settings)][1:]
    ]
    assert {each.verdict for each in asyncio.run(topics.check(settings))} == {"ok"}
    assert read_topic(brokers, settings.changelog_topic) == [
        Record(b"state", b"call", partition=1, offset=0, timestamp=each.timestamp)
        for each in read_topic(brokers, settings.changelog_topic)
    ]
    assert {each.verdict for each in asyncio.run(topics.create(settings))} == {"ok"}


@pytest.mark.kafka
def test_a_dead_letter_fits_where_the_calls_topic_takes_much(settings: Settings) -> None:
    create_topics(settings.brokers or "", settings.calls_topic, config={"max.message.bytes": "8000000"})
    asyncio.run(topics.create(settings))
    assert int(described(settings.brokers or "", settings.dead_topic)["max.message.bytes"]) > 8_000_000


@pytest.mark.kafka
def test_replicas_that_a_broker_may_be_missing_of(own_broker: Callable[..., Cluster]) -> None:
    """Two replicas are made safe rather than available, and it is said; three are both."""
    brokers = own_broker(nodes=3).bootstrap()
    for replicas, least, verdicts in ((2, "2", {"created", "warning"}), (3, "2", {"created"})):
        names = {f"{kind}_topic": f"{kind}-{replicas}" for kind in ("calls", "completed", "kpis", "dead")}
        settings = Settings(brokers=brokers, app_id=f"group-{replicas}", replication=replicas, **names)
        said = asyncio.run(topics.create(settings))
        assert {each.verdict for each in said} == verdicts
        assert described(brokers, settings.dead_topic)["min.insync.replicas"] == least
