"""A transaction that somebody holds open on the calls topic: what lies behind it waits, and everybody says so."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from support.kafka import Record, produce
from support.load import simulated
from support.worker import Setup, Worker, check_exactly_once, wait_for, wait_until_done

from streams.cli.status import status as status_command

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

IMPATIENT = "import streams.engine.hidden as hidden; hidden.PATIENCE_SECONDS = 1.0"
"""The warning comes after a second."""


@contextmanager
def open_transaction(setup: Setup, records: list[Record]) -> Iterator[Producer]:
    """Records in partition 0 of the calls topic, in a transaction that is for the caller to end."""
    producer = Producer(
        {"bootstrap.servers": setup.brokers, "transactional.id": uuid4().hex, "log_level": "0"}
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    for record in records:
        producer.produce(setup.calls, record.value, record.key, 0, timestamp=record.timestamp)
    producer.flush(20)
    yield producer


def gauge(worker: Worker, setup: Setup, name: str) -> float:
    labels = f'{{partition="0",topic="{setup.source}"}}'
    found = re.search(rf"^{name}{re.escape(labels)} (\S+)$", worker.page("/metrics"), re.MULTILINE)
    return float(found[1]) if found else -1.0


def told(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> dict:
    """What `telefonie status` says of partition 0 of the calls topic."""
    from click.testing import CliRunner

    for name, value in setup.env().items():
        monkeypatch.setenv(name, value)
    said = CliRunner().invoke(status_command, ["--json"])
    assert said.exit_code == 0, said.output
    return json.loads(said.stdout)["partitions"][0]


def test_what_is_behind_it_waits_and_everybody_says_so(
    kafka: str, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(kafka, partitions=1)
    setup.create()
    records = simulated(100, seed)
    behind = [*records[20:], *simulated(20, seed + 1)]
    produce(kafka, setup.calls, records[:10])
    with Worker(setup, tmp_path / "log", before=IMPATIENT) as worker:
        wait_for("the first are done", lambda: setup.committed() == 10)
        with open_transaction(setup, records[10:20]) as producer:
            produce(kafka, setup.calls, behind)
            waiting = 10 + len(behind)
            wait_for("it is seen", lambda: gauge(worker, setup, "telefonie_records_hidden") == waiting)
            assert gauge(worker, setup, "telefonie_consumer_lag_records") == waiting
            assert gauge(worker, setup, "telefonie_log_end_offset") == 10 + waiting
            wait_for(
                "commits fall behind",
                lambda: gauge(worker, setup, "telefonie_committed_offset_age_seconds") > 1,
            )
            wait_for("a warning", lambda: "--partition 0 --start-offset 10` ends it" in worker.said())
            wait_for(
                "it is spoken of", lambda: "records wait behind a transaction" in worker.page("/ready"), 20
            )
            assert worker.page("/ready").startswith(f"ok\n{setup.calls} partition 0: {waiting} records wait")
            found = told(setup, monkeypatch)
            assert (found["lag"], found["hidden"], found["end"]) == (waiting, waiting, 10 + waiting)
            assert found["oldest_uncommitted_seconds"] > 0
            producer.commit_transaction(20)
        wait_until_done(setup)
        wait_for("nothing is hidden", lambda: gauge(worker, setup, "telefonie_records_hidden") == 0)
        wait_for(
            "it is said", lambda: "no record is behind an open transaction any more" in worker.said(), 20
        )
        assert worker.terminate() == 0
    check_exactly_once(setup)


@pytest.mark.parametrize("repartition", ["false", "true"])
def test_a_worker_has_not_caught_up_before_it_has_read_what_is_behind_it(
    kafka: str, tmp_path: Path, seed: int, repartition: str
) -> None:
    setup = Setup(kafka, partitions=1, settings={"REPARTITION": repartition})
    setup.create()
    records = simulated(100, seed)
    produce(kafka, setup.calls, records[:1])
    with open_transaction(setup, records[1:10]) as producer:
        produce(kafka, setup.calls, records[10:])
        with Worker(setup, tmp_path / "log", "--until-caught-up", "--json", before=IMPATIENT) as worker:
            wait_for("what can be read is done", lambda: setup.committed_of(setup.calls) == 1)
            wait_for("a warning", lambda: "records wait behind a transaction" in worker.said())
            assert worker.running
            producer.abort_transaction(20)
            assert json.loads(worker.finish(30))["read"] == len(records) - 9
    check_exactly_once(setup)
