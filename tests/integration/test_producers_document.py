"""docs/producers.md: every snippet runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.java import compiled
from support.kafka import Record, produce, read_topic
from support.worker import Setup, run_until_caught_up

from streams.codecs import REASONS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "producers.md").read_text()
SNIPPETS = re.findall(r"^```(\w+)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def snippets(language: str) -> list[str]:
    return [text for name, text in SNIPPETS if name == language]


def test_every_reason_is_explained_and_every_snippet_known() -> None:
    assert re.findall(r"^\| `([\w-]+)` \| ", DOCUMENT, re.MULTILINE) == list(REASONS)
    assert {name for name, _ in SNIPPETS} == {"json", "python", "java", "sh"}
    [python], [java] = snippets("python"), snippets("java")
    assert len(python.splitlines()) <= 10
    assert sum(bool(line.strip(" }")) for line in java.splitlines()) <= 11  # one of them is only long


@pytest.mark.kafka
def test_the_java_producer_does_what_the_python_one_does(kafka: str, tmp_path: Path) -> None:
    [python], [java] = snippets("python"), snippets("java")
    setup = Setup(kafka, partitions=4)
    setup.create()
    subprocess.run([sys.executable, "-c", python], env=setup.env(), check=True, timeout=30)
    subprocess.run(compiled(java, tmp_path), env=setup.env(), check=True, timeout=60)
    first, second = read_topic(kafka, setup.calls)
    assert (json.loads(second.value), second.key, second.partition) == (
        json.loads(first.value),
        first.key,
        first.partition,
    )
    assert abs((second.timestamp or 0) - (first.timestamp or 0)) < 60_000


@pytest.mark.kafka
def test_every_snippet_runs(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=1)
    setup.create()
    env = setup.env() | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    [example], [code] = snippets("json"), snippets("python")
    (tmp_path / "calls.jsonl").write_text(example)
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=30)
    [sent] = read_topic(kafka, setup.calls)
    assert sent.key == json.loads(sent.value)["id"].encode()
    rest = [example.encode(), b'{"status": "ended"}']
    produce(kafka, setup.calls, [Record(value, sent.key, sent.timestamp) for value in rest])
    run_until_caught_up(setup, tmp_path / "log")
    said = [
        subprocess.run(
            ["bash", "-ec", text],
            env=env,
            cwd=tmp_path,
            check=True,
            timeout=60,
            capture_output=True,
            text=True,
        ).stdout
        for text in snippets("sh")
    ]
    assert said[0] == "1: valid\n"
    assert said[1].count("schema") >= 2  # listed, and shown
    assert json.loads(example)["id"] in said[2]
