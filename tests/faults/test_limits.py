"""Topics that take less than is usual, and less while workers run: everything is written all the same."""

import os
import time
from pathlib import Path
from random import Random

import msgspec
import pytest
from confluent_kafka import Producer
from support.kafka import Record, configure, create_topics, produce, read_topic
from support.load import simulated
from support.worker import OUTPUTS, Setup, Worker, check_exactly_once, run_until_caught_up, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.mark.parametrize(
    ("guarantee", "repartition"),
    [("exactly_once", "false"), ("at_least_once", "false"), ("exactly_once", "true")],
)
def test_a_backlog_is_written_to_topics_that_take_little_and_less_after_each_kill(
    kafka: str, tmp_path: Path, seed: int, chance: Random, guarantee: str, repartition: str
) -> None:
    setup = Setup(kafka, partitions=1, settings={"GUARANTEE": guarantee, "REPARTITION": repartition})
    setup.create()
    setup.create_changelog()
    written = [*map(setup.topic, OUTPUTS), f"{setup.group}-calls-changelog"]
    limit = 262_144
    lower(setup, written, limit)
    produce(kafka, setup.calls, simulated(8_000, seed))
    for _ in range(3):
        with Worker(setup, tmp_path / "log", env={"INSTANCE_ID": "one"}) as worker:
            wait_for("partitions", worker.assignments)
            limit -= 30_000
            lower(setup, written, limit)  # also for what is being written at this moment
            time.sleep(chance.uniform(0, 1))
            assert worker.running, worker.said()[-2000:]
            worker.kill()
    run_until_caught_up(setup, tmp_path / "log")
    check_exactly_once(setup)
    assert len(read_topic(kafka, setup.topic("completed"))) > 5_000


def lower(setup: Setup, topics: list[str], limit: int) -> None:
    for topic in topics:
        configure(setup.brokers, topic, {"max.message.bytes": str(limit)})


@pytest.mark.parametrize(
    ("guarantee", "repartition"),
    [("exactly_once", "false"), ("at_least_once", "false"), ("exactly_once", "true")],
)
def test_dead_letters_that_their_topic_does_not_take_lose_their_value_and_not_their_existence(
    kafka: str, tmp_path: Path, chance: Random, guarantee: str, repartition: str
) -> None:
    """Values that nothing compresses, under keys and headers of their own, with kills in between."""
    setup = Setup(kafka, partitions=1, settings={"GUARANTEE": guarantee, "REPARTITION": repartition})
    setup.create()
    lower(setup, [setup.topic("dead")], 262_144)
    now = int(time.time() * 1000)
    records = [
        Record(os.urandom(900_000 if n % 3 else 900), b"%d" % n, now, [("trace", b"%d" % n)])
        for n in range(60)
    ]
    produce(kafka, setup.calls, records)
    for _ in range(3):
        with Worker(setup, tmp_path / "log", env={"INSTANCE_ID": "one"}) as worker:
            wait_for("partitions", worker.assignments)
            time.sleep(chance.uniform(0, 0.7))
            assert worker.running, worker.said()[-2000:]
            worker.kill()
    run_until_caught_up(setup, tmp_path / "log")
    found = read_topic(kafka, setup.topic("dead"))
    assert [(each.key, each.headers[0]) for each in found] == [
        (each.key, each.headers[0]) for each in records
    ]
    for sent, each in zip(records, found, strict=True):
        said = dict(each.headers)
        assert sent.value is not None
        assert each.value == (sent.value if len(sent.value) < 10_000 else b"")
        assert said.get("dead-value-bytes") == (None if len(sent.value) < 10_000 else b"900000")
        assert said["dead-offset"] == said["trace"]


@pytest.mark.parametrize("repartition", ["false", "true"])
def test_what_comes_of_events_of_1970_is_still_there_after_kafkas_next_look_at_old_records(
    kafka: str, tmp_path: Path, repartition: str
) -> None:
    """Records stamped in seconds: before, their outputs had that time too, and were deleted within minutes."""
    setup = Setup(kafka, partitions=1, settings={"REPARTITION": repartition})
    create_topics(kafka, setup.calls, config={"retention.ms": "-1"})
    for kind in OUTPUTS:
        create_topics(kafka, setup.topic(kind), config={"retention.ms": "604800000"})
    seconds = int(time.time())
    call = {
        "id": "c",
        "direction": "inbound",
        "from": "+12025550100",
        "to": "+442079460000",
        "status": "busy",
    }
    produce(
        kafka,
        setup.calls,
        [Record(msgspec.json.encode(call), b"c", seconds), Record(b"{", b"d", seconds + 1)],
    )
    run_until_caught_up(setup, tmp_path / "log")
    (completed,), (letter,) = (read_topic(kafka, setup.topic(kind)) for kind in ("completed", "dead"))
    assert msgspec.json.decode(completed.value or b"")["closed_at"].startswith("1970-01-2")
    assert dict(letter.headers)["dead-timestamp"] == b"%d" % (seconds + 1)
    for each in (completed, letter):
        assert abs((each.timestamp or 0) / 1000 - time.time()) < 60


@pytest.mark.parametrize("repartition", ["false", "true"])
def test_a_few_compressed_kilobytes_that_are_a_quarter_of_a_gigabyte_are_set_aside(
    kafka: str, tmp_path: Path, repartition: str
) -> None:
    """Between two events of a call, in the same batch. Before, the worker held all of it in memory, several times."""
    setup = Setup(kafka, partitions=1, settings={"REPARTITION": repartition})
    setup.create()
    call = {"id": "c", "direction": "inbound", "from": "+12025550100", "to": "+442079460000"}
    size = 256_000_000
    events = [msgspec.json.encode(call | {"status": status}) for status in ("ringing", "busy")]
    producer = Producer(
        {"bootstrap.servers": kafka, "compression.type": "zstd", "linger.ms": 100, "message.max.bytes": 10**9}
    )
    for value in (events[0], bytes(size), events[1]):
        producer.produce(setup.calls, value, b"c", partition=0)
    assert producer.flush(60) == 0
    with Worker(setup, tmp_path / "log") as worker:
        wait_for("the call", lambda: read_topic(kafka, setup.topic("completed")), 60)
        memory = Path(f"/proc/{worker.process.pid}/status").read_text()
    [letter] = read_topic(kafka, setup.topic("dead"))
    said = dict(letter.headers)
    assert (letter.value, said["dead-reason"], said["dead-offset"]) == (b"", b"too-large", b"1")
    assert said["dead-value-bytes"] == b"%d" % size
    [peak] = [int(line.split()[1]) for line in memory.splitlines() if line.startswith("VmHWM")]
    assert peak < 250_000, "KiB"
