"""Producers of calls that write transactions: what they abort was never said."""

from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from support.kafka import Record
from support.load import simulated
from support.worker import Setup, check_exactly_once, end, run_until_caught_up

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


def write(producer: Producer, topic: str, records: list[Record], *, keep: bool) -> None:
    """In one transaction."""
    producer.begin_transaction()
    for record in records:
        producer.produce(topic, record.value, record.key, timestamp=record.timestamp)
    producer.flush(20)
    (producer.commit_transaction if keep else producer.abort_transaction)(20)


def test_calls_of_an_aborted_transaction_are_not_applied(kafka: str, tmp_path: Path, seed: int) -> None:
    setup = Setup(kafka, partitions=1)
    setup.create()
    records = simulated(100, seed)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": uuid4().hex, "log_level": "0"})
    producer.init_transactions(20)
    write(producer, setup.calls, records[:150], keep=True)
    write(producer, setup.calls, records[100:300], keep=False)
    run_until_caught_up(setup, tmp_path / "log")  # also where nothing but an aborted one is left
    write(producer, setup.calls, records[150:], keep=True)
    run_until_caught_up(setup, tmp_path / "log")
    assert setup.committed() == end(kafka, setup.calls)
    check_exactly_once(setup)
