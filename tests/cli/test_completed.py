"""`telefonie completed` on a real broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from click.testing import CliRunner, Result
from support.kafka import Record, create_topics, produce

from streams.calls.times import instant
from streams.cli import main
from streams.codecs import CompletedCall, Source, Status, Timeline, encode_completed

pytestmark = pytest.mark.kafka

START = int(time.time() * 1000) - 3_600_000
PHONE = "+12125550123"


def revision(
    call_id: str,
    number: int = 1,
    *,
    at: int = 0,
    partition: int | None = None,
    status: Status = "completed",
    to: str = "DE",
) -> Record:
    """A record `at` seconds after an hour ago; where its key belongs, unless the partition is said."""
    call = CompletedCall(
        call_id, status, "outbound", PHONE, PHONE, number, "status", "2026-11-25T03:35:13.042Z",
        Timeline(completed="2026-11-25T03:35:13.042Z"), True, 4, Source("calls", 0, 7),
    )  # fmt: skip
    call.from_country, call.to_country = "US", to
    return Record(encode_completed(call), call_id.encode(), START + at * 1000, (), partition)


class Scene:
    """A topic of completed calls with four partitions."""

    def __init__(self, brokers: str, name: str) -> None:
        self.brokers, self.topic = brokers, name
        create_topics(brokers, name, partitions=4)
        self.env = {"TELEFONIE_BROKERS": brokers, "TELEFONIE_COMPLETED_TOPIC": name}

    def publish(self, *records: Record) -> None:
        produce(self.brokers, self.topic, records)

    def run(self, *args: str) -> Result:
        return CliRunner().invoke(main, ["completed", *args], env=self.env)

    def ids(self, *args: str) -> list[str]:
        result = self.run("tail", "--json", *args)
        assert result.exit_code == 0, result.output
        return [json.loads(line)["id"] for line in result.stdout.splitlines()]


@pytest.fixture
def scene(kafka: str, topic_name: str) -> Scene:
    return Scene(kafka, topic_name)


@pytest.mark.parametrize("partition", [None, 0, 1])
def test_get_finds_all_revisions_wherever_they_lie(scene: Scene, partition: int | None) -> None:
    scene.publish(*(revision(f"other-{n}") for n in range(8)))
    scene.publish(Record(None, b"one"), Record(b"{", b"one"))
    scene.publish(*(revision("one", number, partition=partition) for number in (1, 2)))
    found = scene.run("get", "one", "--json")
    assert [json.loads(line)["revision"] for line in found.stdout.splitlines()] == [1, 2]
    text = scene.run("get", "one").stdout
    assert "timeline.completed\t2026-11-25T03:35:13.042Z\n" in text
    assert text.count("\tone\t") == 2


def test_get_of_an_unknown_call_is_one_line_and_exit_1(scene: Scene) -> None:
    result = scene.run("get", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: {scene.topic} holds no completed call with this id\n"


def test_get_of_an_erased_call_says_so(scene: Scene) -> None:
    scene.publish(revision("one"), revision("two"), Record(None, b"one", START + 9_000))
    erased = scene.run("get", "one")
    assert (erased.exit_code, erased.stdout) == (1, "")
    assert "this call has been erased" in erased.stderr
    assert f"written {instant(START + 9_000)}" in erased.stderr
    assert scene.run("get", "two").exit_code == 0
    scene.publish(revision("one", 5, at=20))  # published again since
    found = scene.run("get", "one", "--json")
    assert [json.loads(line)["revision"] for line in found.stdout.splitlines()] == [5]


def test_get_looks_back_as_far_as_it_is_told(scene: Scene) -> None:
    scene.publish(revision("one", at=0), revision("one", 2, at=1000))
    found = scene.run("get", "one", "--json", "--since", instant(START + 500_000))
    assert [json.loads(line)["revision"] for line in found.stdout.splitlines()] == [2]
    late = scene.run("get", "one", "--since", "1m")
    assert late.exit_code == 1
    assert "holds none with this id since" in late.stderr


@pytest.mark.parametrize(
    ("code", "hint"), [("UK", "the code is GB"), ("Germany", "such as DE"), ("zz", "such as DE")]
)
def test_a_country_that_is_none_is_named(scene: Scene, code: str, hint: str) -> None:
    result = scene.run("tail", "--country", code)
    assert result.exit_code == 2
    assert f"{code!r} is no country code" in result.stderr
    assert hint in result.stderr


def test_a_record_of_several_lines_is_one_line(scene: Scene) -> None:
    made = revision("one")
    scene.publish(
        Record(json.dumps(json.loads(made.value or b""), indent=2).encode(), made.key, made.timestamp)
    )
    assert scene.ids() == ["one"]


def test_tail_gives_the_last_of_what_is_chosen(scene: Scene) -> None:
    assert scene.ids() == []
    scene.publish(
        revision("first", at=0, status="busy"),
        *(revision(f"call-{n}", at=10 + n) for n in range(30)),
        revision("french", at=5, to="FR"),
    )
    assert scene.ids() == [f"call-{n}" for n in range(20, 30)]
    assert scene.ids("--lines", "2") == ["call-28", "call-29"]
    assert scene.ids("--status", "busy", "--status", "failed", "-n", "1") == ["first"]
    assert scene.ids("--country", "fr") == ["french"]
    assert len(scene.ids("--country", "US", "-n", "100")) == 32
    assert scene.ids("--since", instant(START + 38_000), "-n", "100") == ["call-28", "call-29"]
    assert PHONE not in scene.run("tail").output


def test_tail_follows_until_it_is_interrupted(scene: Scene) -> None:
    scene.publish(revision("before"))
    with subprocess.Popen(
        [sys.executable, "-m", "streams", "completed", "tail", "--follow", "--status", "completed"],
        env={**os.environ, **scene.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tail:
        watchdog = threading.Timer(60, tail.kill)  # otherwise anything that fails here waits for it forever
        watchdog.start()
        try:
            assert tail.stdout is not None
            assert tail.stderr is not None
            assert tail.stdout.readline().split("\t")[1] == "before"
            scene.publish(revision("left out", status="busy"), revision("after"))
            assert tail.stdout.readline().split("\t")[1] == "after"
            tail.send_signal(signal.SIGINT)
            assert tail.stderr.read() == ""
            assert tail.wait(10) == 130
        finally:
            tail.kill()
            watchdog.cancel()
