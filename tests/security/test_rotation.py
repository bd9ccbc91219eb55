"""A worker that keeps running while its password and the brokers' certificates are replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kafka import wait_until_ready
from support.load import produce_calls
from support.secured import Authority, Rule, allow, login, secured_cluster, set_password
from support.worker import Setup, Worker, check_exactly_once, wait_for, wait_until_done

pytestmark = pytest.mark.kafka

ALL = (Rule("topic", "*", ("All",)), Rule("group", "*", ("All",)), Rule("transactional-id", "*", ("All",)))


class Mount:
    """Secrets as Kubernetes mounts them: links into a folder that is replaced as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = 0

    def write(self, **contents: str) -> None:
        self._versions += 1
        version = self.folder / f"..{self._versions}"
        version.mkdir(parents=True)
        for name, content in contents.items():
            (version / name).write_text(content)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        (self.folder / "..new").symlink_to(version.name)
        (self.folder / "..new").rename(self.folder / "..data")

    def path(self, name: str) -> str:
        return str(self.folder / name)


class Scene:
    """A cluster of its own, whose one worker logs in by files."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "ca")
        self.cluster = secured_cluster(folder / "kafka", self.authority)
        self.cluster.start()
        self.brokers = self.cluster.bootstrap()
        allow(self.brokers, "worker", ALL)
        self.secrets = Mount(folder / "secrets")
        self.setup = Setup(self.brokers, partitions=2)
        self.setup.create()

    def worker(self) -> Setup:
        """The setup of the worker."""
        who = login("worker") | {"SASL_PASSWORD_FILE": self.secrets.path("password")}
        del who["SASL_PASSWORD"]
        given = {
            "BROKERS": self.cluster.bootstrap("SASL_SSL"),
            "SECURITY_PROTOCOL": "SASL_SSL",
            "SSL_CA_FILE": self.secrets.path("ca"),
            **who,
        }
        return Setup(self.brokers, partitions=2, settings=given, name=self.setup.name)

    def restart(self) -> None:
        """Every connection is made again."""
        broker = self.cluster.brokers[0]
        broker.stop()
        broker.start()
        wait_until_ready(self.brokers)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.cluster.kill()


def test_a_worker_goes_on_with_new_secrets(scene: Scene, tmp_path: Path) -> None:
    """A new password at the broker, and a new certificate that a new authority has signed."""
    set_password(scene.brokers, "worker", "hush-1")
    scene.secrets.write(password="hush-1\n", ca=scene.authority.cert.read_text())
    with Worker(scene.worker(), tmp_path / "log") as worker:
        produce_calls(scene.brokers, scene.setup.calls, 100, seed=1)
        wait_until_done(scene.setup)
        set_password(scene.brokers, "worker", "hush-2")
        renewed = Authority(tmp_path / "new-ca")
        store = renewed.keystore(renewed.issue("broker", "127.0.0.1", "localhost"))
        os.replace(store, scene.authority.folder / "broker.store.pem")  # noqa: PTH105
        scene.secrets.write(password="hush-2\n", ca=renewed.cert.read_text())
        scene.restart()
        produce_calls(scene.brokers, scene.setup.calls, 100, seed=2)
        wait_until_done(scene.setup, timeout=90)
        assert worker.running
        assert worker.terminate() == 0
        assert "hush" not in worker.said()
    check_exactly_once(scene.setup)


def test_an_old_password_is_named_while_it_waits(scene: Scene, tmp_path: Path) -> None:
    set_password(scene.brokers, "worker", "hush-1")
    scene.secrets.write(password="hush-1", ca=scene.authority.cert.read_text())
    with Worker(scene.worker(), tmp_path / "log") as worker:
        wait_for("partitions are assigned", worker.assignments, timeout=120)
        set_password(scene.brokers, "worker", "hush-2")
        scene.restart()
        refused = (
            "the Kafka brokers refuse this user: look at TELEFONIE_SASL_USERNAME, TELEFONIE_SASL_PASSWORD"
        )
        wait_for("it says so", lambda: refused in worker.said(), timeout=120)
        scene.secrets.write(password="hush-2", ca=scene.authority.cert.read_text())
        produce_calls(scene.brokers, scene.setup.calls, 50, seed=1)
        wait_until_done(scene.setup, timeout=90)
        assert worker.terminate() == 0
        assert "hush" not in worker.said()


@pytest.mark.slow
def test_a_file_that_is_gone_is_named_too(scene: Scene, tmp_path: Path) -> None:
    set_password(scene.brokers, "worker", "hush-1")
    scene.secrets.write(password="hush-1", ca=scene.authority.cert.read_text())
    with Worker(scene.worker(), tmp_path / "log") as worker:
        wait_for("partitions are assigned", worker.assignments, timeout=120)
        scene.secrets.write(ca=scene.authority.cert.read_text())
        scene.restart()
        wait_for(
            "it says so",
            lambda: "TELEFONIE_SASL_PASSWORD_FILE takes the path of a" in worker.said(),
            timeout=120,
        )
        scene.secrets.write(password="hush-1", ca=scene.authority.cert.read_text())
        produce_calls(scene.brokers, scene.setup.calls, 50, seed=1)
        wait_until_done(scene.setup, timeout=90)
        assert worker.terminate() == 0
