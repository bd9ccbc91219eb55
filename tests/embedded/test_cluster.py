"""Real brokers: started, stopped, killed, started again, and what they say if something prevents that."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.kafka import Record, create_topics, produce, read_topic

from streams.embedded import Cluster, EmbeddedKafkaError
from streams.embedded.processes import ChildEnded

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]

OwnBroker = Callable[..., Cluster]
PARENT = Path(__file__).with_name("parent.py")


def values(brokers: str, topic: str) -> list[bytes | None]:
    return [record.value for record in read_topic(brokers, topic)]


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_next_start_continues_the_data_on_the_same_port(tmp_path: Path) -> None:
    with Cluster(tmp_path) as first:
        create_topics(first.bootstrap(), "calls")
        produce(first.bootstrap(), "calls", [Record(b"kept")])
    with Cluster(tmp_path) as second:
        assert second.bootstrap() == first.bootstrap()
        assert values(second.bootstrap(), "calls") == [b"kept"]


def test_another_port_than_the_last_time(own_broker: OwnBroker) -> None:
    first = own_broker()
    create_topics(first.bootstrap(), "calls")
    first.stop()
    port = int(first.bootstrap().rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        second = own_broker()
        assert second.bootstrap() != first.bootstrap()
        assert values(second.bootstrap(), "calls") == []


def test_a_killed_broker_comes_back_with_what_it_had_acknowledged(own_broker: OwnBroker) -> None:
    cluster = own_broker()
    create_topics(cluster.bootstrap(), "calls")
    produce(cluster.bootstrap(), "calls", [Record(b"one"), Record(b"two")])
    broker = cluster.brokers[0]
    broker.kill()
    assert not broker.running
    broker.start()
    assert values(cluster.bootstrap(), "calls") == [b"one", b"two"]


def test_a_paused_broker_answers_nothing_until_it_is_resumed(own_broker: OwnBroker) -> None:
    cluster = own_broker()
    create_topics(cluster.bootstrap(), "calls")
    cluster.brokers[0].pause()
    with pytest.raises(AssertionError, match="not delivered"):
        produce(cluster.bootstrap(), "calls", [Record(b"lost")], patience=1)
    cluster.brokers[0].resume()
    produce(cluster.bootstrap(), "calls", [Record(b"sent")])
    assert b"sent" in values(cluster.bootstrap(), "calls")
    cluster.brokers[0].pause()
    cluster.stop(patience=5)
    assert not cluster.brokers[0].running


def test_a_broker_outlives_the_thread_that_started_it_and_has_its_own_session(own_broker: OwnBroker) -> None:
    started: list[Cluster] = []
    thread = threading.Thread(target=lambda: started.append(own_broker()))
    thread.start()
    thread.join()
    time.sleep(0.2)
    broker = started[0].brokers[0]
    assert broker.running
    assert os.getsid(broker.pid) != os.getsid(0), "Ctrl-C is for the parent alone"
    assert "[aot" not in broker.log.read_text(), "the trained start fits"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_no_broker_outlives_a_killed_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, PARENT, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout
        broker = int(parent.stdout.readline())
        assert alive(broker)
    finally:
        parent.kill()
        parent.communicate()
    until(lambda: not alive(broker))
    with Cluster(tmp_path):
        pass  # nothing is in its way


def test_a_data_directory_in_use_is_named_with_the_process(
    own_broker: OwnBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own_broker()
    monkeypatch.setattr("streams.embedded.layout._LOCK_PATIENCE", 0.1)
    with pytest.raises(
        EmbeddedKafkaError, match=f"{tmp_path}.* is in use by process {os.getpid()}: stop that"
    ):
        own_broker()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(EmbeddedKafkaError, match=f"port {port} is in use by another program"):
            Cluster(tmp_path, port=port).start()


def test_a_directory_of_another_number_of_brokers_is_refused(own_broker: OwnBroker) -> None:
    own_broker().stop()
    with pytest.raises(EmbeddedKafkaError, match="belongs to 1 brokers, not to 3"):
        own_broker(nodes=3)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedKafkaError, match=f"cannot use the data directory {tmp_path}/file/kafka"):
        Cluster(tmp_path / "file" / "kafka").start()


def test_a_broker_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, settings={"num.io.threads": "none"})
    with pytest.raises(
        ChildEnded, match=r"(?s)broker 1 ended \(exit code 1\); the end of .*node-1\.log:.*num\.io\.threads"
    ):
        cluster.start()
    assert not cluster.brokers[0].running


def test_three_brokers_go_on_without_one_of_them(own_broker: OwnBroker) -> None:
    cluster = own_broker(nodes=3)
    brokers = cluster.bootstrap()
    create_topics(brokers, "calls", partitions=3)
    produce(brokers, "calls", [Record(b"all up")])
    victim = cluster.brokers[1]
    victim.kill()
    produce(brokers, "calls", [Record(b"one down", partition=partition) for partition in range(3)])
    victim.start()
    assert sorted(filter(None, values(victim.address(), "calls"))) == [b"all up", *[b"one down"] * 3]
