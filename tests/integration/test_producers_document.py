"""docs/producers.md: every snippet runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.kafka import Record, produce, read_topic
from support.worker import Setup, run_until_caught_up

from streams.codecs import REASONS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "producers.md").read_text()
SNIPPETS = re.findall(r"^```(\w+)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def snippets(language: str) -> list[str]:
    return [text for name, text in SNIPPETS if name == language]


def test_every_reason_is_explained_and_every_snippet_known() -> None:
    assert re.findall(r"^\| `([\w-]+)` \| ", DOCUMENT, re.MULTILINE) == list(REASONS)
    assert {name for name, _ in SNIPPETS} == {"json", "python", "sh"}
    [code] = snippets("python")
    assert len(code.splitlines()) <= 10


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
