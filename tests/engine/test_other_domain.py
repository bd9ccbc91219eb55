"""The engine knows nothing of calls: a counter runs on it, with the same promises."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
from support.kafka import Record, create_topics, produce, read_topic
from support.worker import wait_for


@pytest.mark.kafka
def test_a_counter_counts_exactly_once_through_sigkills(kafka: str, tmp_path: Path) -> None:
    name, keys = f"counter-{uuid4().hex[:8]}", [b"%d" % n for n in range(50)]
    create_topics(kafka, f"{name}.in", f"{name}.counts", f"{name}.changelog", partitions=2)
    chance = random.Random(4)
    command = [sys.executable, str(Path(__file__).with_name("counter.py")), kafka, name]

    def counts() -> list[tuple[bytes | None, bytes | None]]:
        return [(r.key, r.value) for r in read_topic(kafka, f"{name}.counts")]

    sent: list[bytes] = []
    for _ in range(3):
        more = [chance.choice(keys) for _ in range(5_000)]
        sent += more
        with (
            (tmp_path / "log").open("ab") as log,
            subprocess.Popen(command, stderr=log, stdout=log) as worker,
        ):
            produce(kafka, f"{name}.in", [Record(b"", key) for key in more[:4_000]])
            time.sleep(chance.uniform(1.0, 2.5))
            worker.kill()
        produce(kafka, f"{name}.in", [Record(b"", key) for key in more[4_000:]])
    with (tmp_path / "log").open("ab") as log, subprocess.Popen(command, stderr=log, stdout=log) as worker:
        wait_for("everything counted", lambda: len(counts()) >= len(sent), timeout=60, every=0.5)
        worker.terminate()
    expected = {key: [b"%d" % n for n in range(1, times + 1)] for key, times in Counter(sent).items()}
    found: dict[bytes | None, list[bytes | None]] = {}
    for key, value in counts():
        found.setdefault(key, []).append(value)
    assert found == expected


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_the_end_of_a_fetch_may_begin_the_commit(kafka: str, tmp_path: Path) -> None:
    """What is read first may be committed for another reason: where the group begins is said once."""
    name = f"counter-{uuid4().hex[:8]}"
    create_topics(kafka, f"{name}.in", f"{name}.counts", f"{name}.changelog")
    program = str(Path(__file__).with_name("counter.py"))
    command = [sys.executable, program, kafka, name, "after each fetch"]
    with (tmp_path / "log").open("ab") as log, subprocess.Popen(command, stderr=log, stdout=log) as worker:
        try:
            for times in (10, 20, 30):
                produce(kafka, f"{name}.in", [Record(b"", b"key")] * 10)
                wait_for(
                    f"{times} are counted", lambda n=times: len(read_topic(kafka, f"{name}.counts")) == n, 30
                )
        finally:
            worker.kill()
