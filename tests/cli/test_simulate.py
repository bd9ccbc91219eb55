"""`telefonie simulate` on a real broker, and as JSON lines."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import pytest
from click.testing import CliRunner
from support.kafka import end_offset, read_topic
from support.worker import wait_for

from streams.cli import main
from streams.codecs import CallDecoder, Rejected
from streams.operations.simulation import LIFESPAN_MS


def accepted(value: bytes | None) -> bool:
    try:
        CallDecoder().decode(value, ())
    except Rejected:
        return False
    return True


def test_printed_calls_can_be_validated() -> None:
    printed = CliRunner().invoke(
        main, ["simulate", "--calls", "50", "--seed", "3", "--invalid", "0", "--print"]
    )
    assert printed.exit_code == 0
    assert CliRunner().invoke(main, ["validate"], input=printed.stdout_bytes).exit_code == 0


@pytest.mark.kafka
def test_past_calls_are_sent_at_once_and_repeatably(kafka: str, make_topic: Callable[..., str]) -> None:
    told = []
    for _ in range(2):
        topic = make_topic(partitions=3)
        env = {"TELEFONIE_BROKERS": kafka, "TELEFONIE_CALLS_TOPIC": topic}
        args = ["simulate", "--calls", "200", "--rate", "0", "--seed", "5", "--unterminated", "0.1"]
        result = CliRunner().invoke(main, args, env=env)
        assert result.exit_code == 0
        records = read_topic(kafka, topic)
        assert f"sent {len(records):,} records of 200 calls to {topic}" in result.stderr
        now = time.time() * 1000
        assert all(now - LIFESPAN_MS - 70_000 < (each.timestamp or 0) < now for each in records)
        told.append(Counter((each.key, each.partition, accepted(each.value)) for each in records))
    assert told[0] == told[1]
    assert len({key for key, _, _ in told[0]}) == 200


@pytest.mark.kafka
def test_all_events_of_a_call_lie_in_one_partition(kafka: str, make_topic: Callable[..., str]) -> None:
    topic = make_topic(partitions=4)
    env = {"TELEFONIE_BROKERS": kafka, "TELEFONIE_CALLS_TOPIC": topic}
    CliRunner().invoke(main, ["simulate", "--calls", "100", "--rate", "0"], env=env)
    places = {(each.key, each.partition) for each in read_topic(kafka, topic)}
    assert len(places) == len({key for key, _ in places}) == 100
    assert {partition for _, partition in places} == {0, 1, 2, 3}


@pytest.mark.kafka
def test_live_calls_come_when_they_happen_until_ctrl_c(kafka: str, make_topic: Callable[..., str]) -> None:
    topic = make_topic()
    env = {**os.environ, "TELEFONIE_BROKERS": kafka, "TELEFONIE_CALLS_TOPIC": topic}
    command = [sys.executable, "-m", "streams", "simulate", "--rate", "100"]
    begun = time.time()
    sending = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    wait_for("some calls", lambda: end_offset(kafka, topic) > 20)
    sending.send_signal(signal.SIGINT)
    _, errors = sending.communicate(timeout=30)
    assert sending.returncode == 0
    records = read_topic(kafka, topic)
    assert errors.startswith(f"sent {len(records):,} records to {topic}")
    assert 20 < len(records) < 2000
    assert all(begun - 1 < (each.timestamp or 0) / 1000 < time.time() for each in records)


@pytest.mark.kafka
def test_a_missing_topic_is_one_line(kafka: str, topic_name: str) -> None:
    env = {"TELEFONIE_BROKERS": kafka, "TELEFONIE_CALLS_TOPIC": topic_name}
    result = CliRunner().invoke(main, ["simulate", "--calls", "1"], env=env)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: topic {topic_name} is missing: run `telefonie topics create`")
