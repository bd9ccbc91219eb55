"""The command that runs Kafka Streams: `KafkaStreamsPeer.java`, compiled once by the `javac` on the PATH."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from streams.embedded.jars import Jar, cache_dir, fetch

_SOURCE: Final = Path(__file__).with_name("KafkaStreamsPeer.java")
_STREAMS: Final = Jar(
    "org.apache.kafka",
    "kafka-streams",
    "4.3.1",
    "bd73f3805e116f711e8456ee89a8a5b43ff5dcf5a5bb865afae29deae89e7c4b",
)
_FLAGS: Final = ("-Xmx2g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error")


def why_not() -> str | None:
    """What is missing here to run it; None when nothing is."""
    missing = [tool for tool in ("javac", "java") if shutil.which(tool) is None]
    return f"there is no {missing[0]} on the PATH" if missing else None


def command(arguments: list[str], settings: Mapping[str, str]) -> list[str]:
    """The command line: `arguments` as for every peer, `settings` by Kafka Streams' own names."""
    jars = ":".join(map(str, fetch(cache_dir(), extra=[_STREAMS])))
    class_path = f"{_compiled(jars)}:{jars}"
    options = [f"{name}={value}" for name, value in settings.items()]
    return ["java", *_FLAGS, "-cp", class_path, _SOURCE.stem, *arguments, *options]


def _compiled(class_path: str) -> Path:
    """The folder of the class files, kept beside the jars: a start should not wait for the compiler."""
    known = hashlib.sha256(_SOURCE.read_bytes() + class_path.encode()).hexdigest()[:16]
    folder = cache_dir() / f"peer-{known}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
            compiler = ["javac", "-nowarn", "-d", f"{scratch}/classes", "-cp", class_path, _SOURCE]
            subprocess.run(compiler, check=True, stderr=subprocess.DEVNULL, timeout=120)
            Path(scratch, "classes").rename(folder)
    return folder
