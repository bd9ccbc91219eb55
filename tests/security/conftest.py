"""One Kafka with TLS, passwords and access rights for all of these tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.secured import PASSWORDS, Authority, Secured, secured_cluster, set_password
from support.training import train


@pytest.fixture(autouse=True)
def _keep_the_log() -> Iterator[None]:
    """Commands that run in this process set its log up for theirs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The cluster; do not stop it."""
    train()
    folder: Path = tmp_path_factory.mktemp("secured")
    ours, stranger = Authority(folder / "ca"), Authority(folder / "stranger")
    identities = {
        "client": ours.issue("client"),
        "expired": ours.issue("late", expired=True),
        "stranger": stranger.issue("client"),
    }
    cluster = secured_cluster(folder / "kafka", ours)
    with cluster:
        addresses = {name: cluster.bootstrap(name) for name in cluster.brokers[0]._ports}
        for user, password in PASSWORDS.items():
            set_password(addresses["PLAINTEXT"], user, password)
        yield Secured(addresses, ours, stranger, identities)
