"""The configuration of a broker."""

from pathlib import Path

from streams.embedded.properties import server_properties, write

ONE = [{"PLAINTEXT": 9092, "SSL": 9093, "CONTROLLER": 9094}]


def test_properties_are_written_so_that_java_reads_them_back(tmp_path: Path) -> None:
    write(tmp_path / "p", {"jaas": 'Module required user_é="a\\b😀";'})
    assert (tmp_path / "p").read_bytes() == rb'jaas=Module required user_\u00e9="a\\b\ud83d\ude00";' + b"\n"


def test_extra_settings_win() -> None:
    assert server_properties(1, ONE, Path("/data"), {"log.retention.ms": "1"})["log.retention.ms"] == "1"


def test_the_controller_is_not_for_clients() -> None:
    settings = server_properties(1, ONE, Path("/data"), {})
    assert settings["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9092,SSL://127.0.0.1:9093"
    assert settings["listener.security.protocol.map"] == "PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT"


def test_three_brokers_keep_three_copies_two_of_them_in_sync() -> None:
    ports = [{"PLAINTEXT": 1000 + node, "CONTROLLER": 2000 + node} for node in range(3)]
    settings = server_properties(2, ports, Path("/data"), {})
    assert settings["controller.quorum.voters"] == "1@127.0.0.1:2000,2@127.0.0.1:2001,3@127.0.0.1:2002"
    assert settings["listeners"].startswith("PLAINTEXT://127.0.0.1:1001,")
    assert settings["default.replication.factor"] == settings["offsets.topic.replication.factor"] == "3"
    assert settings["min.insync.replicas"] == settings["transaction.state.log.min.isr"] == "2"
