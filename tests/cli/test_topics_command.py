"""`telefonie topics` on a real broker."""

import json
import re
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from support.kafka import Record, create_topics, produce
from support.load import scattered, simulated

from streams.cli import main

pytestmark = pytest.mark.kafka


@pytest.fixture
def topics(kafka: str, topic_name: str) -> Callable[..., Result]:
    env = {
        "TELEFONIE_BROKERS": kafka,
        "TELEFONIE_APP_ID": topic_name,
        "TELEFONIE_CALLS_TOPIC": topic_name,
        "TELEFONIE_COMPLETED_TOPIC": f"{topic_name}.completed",
        "TELEFONIE_KPIS_TOPIC": f"{topic_name}.kpis",
        "TELEFONIE_DEAD_TOPIC": f"{topic_name}.dead",
    }

    def run(*args: str, **more: str) -> Result:
        given = {f"TELEFONIE_{name}": value for name, value in more.items()}
        return CliRunner().invoke(main, ["topics", *args], env={**env, **given})

    return run


def verdicts(result: Result) -> list[str]:
    return [json.loads(line)["verdict"] for line in result.stdout.splitlines()]


def test_create_makes_them_once(topics: Callable[..., Result]) -> None:
    assert verdicts(topics("check", "--json")) == ["error"] * 4 + ["warning"] * 2
    first = topics("create", "--json", PARTITIONS="2")
    assert (first.exit_code, verdicts(first)) == (0, ["created"] * 6)
    assert json.loads(first.stdout.splitlines()[0])["message"] == "2 partitions, 1 replica, cleanup delete"
    again = topics("create", "--json", PARTITIONS="3")
    assert (again.exit_code, verdicts(again)) == (0, ["ok"] * 6)
    assert topics("check").exit_code == 0


def test_create_follows_a_calls_topic_that_exists(
    topics: Callable[..., Result], kafka: str, topic_name: str
) -> None:
    create_topics(kafka, topic_name, partitions=3)
    result = topics("create", PARTITIONS="1")
    assert result.exit_code == 0
    assert result.stdout.count("3 partitions") == 5


def test_check_says_what_would_break(topics: Callable[..., Result], kafka: str, topic_name: str) -> None:
    changelog = f"{topic_name}-calls-changelog"
    create_topics(kafka, changelog, partitions=1, config={"cleanup.policy": "delete"})
    result = topics("create", PARTITIONS="4")
    assert result.exit_code == 1
    assert f"error    {changelog} has cleanup.policy delete, needs compact: state would be" in result.stdout
    assert "`telefonie topics alter --dry-run` shows how to correct these settings" in result.stderr
    assert f"grown    {changelog} has 4 partitions now, 3 of them new\n" in result.stdout


def test_alter_puts_right_what_check_complains_of(
    topics: Callable[..., Result], kafka: str, topic_name: str
) -> None:
    create_topics(kafka, f"{topic_name}.kpis", config={"cleanup.policy": "delete", "retention.ms": "60000"})
    topics("create", PARTITIONS="1")
    change = "cleanup.policy=[compact,delete],retention.ms=604800000"
    rehearsed = topics("alter", "--dry-run")
    assert (rehearsed.exit_code, rehearsed.stdout) == (
        0,
        f"kafka-configs.sh --bootstrap-server {kafka} --alter --entity-type topics "
        f"--entity-name {topic_name}.kpis --add-config {change}\n",
    )
    assert verdicts(topics("check", "--json")).count("warning") == 2
    changed = topics("alter", "--json", f"{topic_name}.kpis")
    [said] = map(json.loads, changed.stdout.splitlines())
    assert said["verdict"] == "changed"
    assert said["change"] == {"cleanup.policy": "compact,delete", "retention.ms": "604800000"}
    assert verdicts(topics("check", "--json")) == ["ok"] * 6
    assert topics("alter").stdout == ""


def test_check_looks_at_the_keys_of_the_calls_topic(
    topics: Callable[..., Result], kafka: str, topic_name: str
) -> None:
    topics("create")
    records = simulated(100, seed=1)
    produce(kafka, topic_name, [*records, Record(b"{}", b"no call")])
    assert verdicts(topics("check", "--json")) == ["ok"] * 6
    produce(kafka, topic_name, scattered(records, seed=1))
    found = topics("check")
    assert found.exit_code == 0
    said = re.search(
        r"warning  (\S+) has keys that are not the call id: (\d+) of the last (\d+)", found.stdout
    )
    assert said
    assert said[1] == topic_name
    assert 0 < int(said[2]) <= int(said[3]) <= 800
    assert int(re.findall(r"and (\d+) of their", found.stdout)[0]) > 50
    assert "has keys" not in topics("check", REPARTITION="true").stdout


def test_what_the_broker_refuses_is_one_line(topics: Callable[..., Result], topic_name: str) -> None:
    result = topics("create", REPLICATION="3")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: topic {topic_name} cannot be created: ")
    assert result.stderr.count("\n") == 1
