"""Starts Kafka Streams on the load: `KafkaStreamsPeer.java`, compiled by the `javac` on the PATH.

python -m benchmarks.peers.kafka_streams BROKERS GROUP CALLS_TOPIC COMPLETED_TOPIC GUARANTEE
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
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


def main(arguments: list[str]) -> None:
    """Compile it, and become it, so that it is measured under this process id."""
    class_path = ":".join(map(str, fetch(cache_dir(), extra=[_STREAMS])))
    classes = tempfile.mkdtemp()
    compiler = ["javac", "-nowarn", "-d", classes, "-cp", class_path, _SOURCE]
    subprocess.run(compiler, check=True, stderr=subprocess.DEVNULL)
    os.execvp("java", ["java", *_FLAGS, "-cp", f"{classes}:{class_path}", _SOURCE.stem, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
