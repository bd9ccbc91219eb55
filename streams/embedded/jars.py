"""The jars of Apache Kafka: fetched once, checked at every start."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import NamedTuple, TypeAlias

from streams.embedded.errors import INSTALL, EmbeddedKafkaError

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how many of how many jars are present, while some of them are fetched."""

# The modification time of every jar: Java's AOT cache depends on it, and so remains valid when a jar is fetched again.
_MTIME = 1_000_000_000


class Jar(NamedTuple):
    """One line of `jars.txt`."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        """The name of the file in the cache."""
        return f"{self.artifact}-{self.version}.jar"


def cache_dir() -> Path:
    """Where downloads are kept: `$XDG_CACHE_HOME/telefonie`, by default `~/.cache/telefonie`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "telefonie"


def listed(release: Path | None = None) -> list[Jar]:
    """The jars of `jars.txt`, or of such a list for another Kafka release, in the order of the class path."""
    ours = resources.files("streams.embedded").joinpath("jars.txt")
    text = (release or ours).read_text("utf-8")
    return [_jar(line) for line in text.splitlines() if not line.startswith("#")]


def _jar(line: str) -> Jar:
    place, sha256 = line.split()
    group, artifact, version = place.split(":")
    return Jar(group, artifact, version, sha256)


def fetch(
    cache: Path,
    *,
    release: Path | None = None,
    extra: Sequence[Jar] = (),
    offline: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> list[Path]:
    """The class path: every jar `listed`, and the `extra` ones, in `cache`, each with the right SHA-256.

    Jars that are missing or damaged are fetched from Maven Central (45 MB the first time), one process at a time; with
    all of them in place the network is not touched. A file gets its name only once it is complete and verified. Raises
    EmbeddedKafkaError if a jar is not available: no network, `offline`, another SHA-256, no space.
    """
    folder = cache / "jars"
    jars = [*listed(release), *extra]
    if _missing(folder, jars):
        with _locked(folder):
            missing = _missing(folder, jars)
            for left, jar in zip(range(len(missing), 0, -1), missing, strict=True):
                progress(len(jars) - left, len(jars))
                _fetch(jar, folder, offline)
            progress(len(jars), len(jars))
    return [folder / jar.filename for jar in jars]


def _missing(folder: Path, jars: list[Jar]) -> list[Jar]:
    return [jar for jar in jars if _sha256(folder / jar.filename) != jar.sha256]


def _sha256(file: Path) -> str | None:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:  # usually there is none; one that cannot be read is replaced
        return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    make_folder(folder)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_folder(folder: Path) -> None:
    """Create a directory of the cache. Raises EmbeddedKafkaError if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise EmbeddedKafkaError(
            f"cannot keep Apache Kafka in {folder} ({error.strerror}): set XDG_CACHE_HOME to another "
            "directory"
        ) from error


def _fetch(jar: Jar, folder: Path, offline: bool) -> None:
    """Fetch one jar to a temporary file, and move it to its place once it is verified."""
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
        try:
            fetched = _download(jar, Path(scratch), offline)
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors, jgo's own are RuntimeErrors
            why = "offline" if offline else type(error).__name__
            raise EmbeddedKafkaError(
                f"cannot fetch {jar.filename} ({why}): the first start downloads Apache Kafka, 45 MB, "
                "from Maven Central; later ones need no network"
            ) from error
        if _sha256(fetched) != jar.sha256:
            raise EmbeddedKafkaError(
                f"{jar.filename} came with another SHA-256 than it must have and is not used: "
                "ask who is between here and Maven Central"
            )
        os.utime(fetched, (_MTIME, _MTIME))
        fetched.replace(folder / jar.filename)


def _download(jar: Jar, scratch: Path, offline: bool) -> Path:
    try:
        from jgo.maven import MavenContext
    except ImportError:
        raise EmbeddedKafkaError(INSTALL) from None
    maven = MavenContext(repo_cache=scratch, offline=offline, timeout=60)
    return Path(maven.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve())
