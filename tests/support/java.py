"""Java source on a machine that has only Python: a compiler in one jar, which runs on the embedded Kafka's Java."""

import re
import subprocess
from pathlib import Path

import pytest

from streams.embedded import EmbeddedKafkaError, jars
from streams.embedded.installation import install

#: The Eclipse compiler; for tests alone, so it is not in the list of what `run` needs.
_COMPILER = jars.Jar(
    "org.eclipse.jdt", "ecj", "3.45.0", "c8f5e66787ea6e4e0394ba3051c86a4edc50683ce9850f71739646529a99a2d7"
)

#: Kafka's own command-line tools, of the release that is delivered; for tests alone, too.
_TOOLS = jars.Jar(
    "org.apache.kafka",
    "kafka-tools",
    "4.3.1",
    "62f3c5dd7aa3442d4c5bc6a95f86e2502178ea09de8e27f74d9563bf955e253c",
)
_SCRIPTS = {
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-transactions.sh": "org.apache.kafka.tools.TransactionsCommand",
}


def run_tool(command: str, brokers: str) -> str:
    """Run a command of Kafka's own tools as our messages name it, with BROKERS filled in; returns its stdout.

    Skips the test when the tools are not available.
    """
    script, *arguments = command.replace("BROKERS", brokers).split()
    kafka = install()
    try:
        tools = jars.fetch(jars.cache_dir(), extra=[_TOOLS])[-1]
    except EmbeddedKafkaError as error:
        pytest.skip(f"no tools of Kafka: {error}")
    class_path = ":".join(map(str, [*kafka.class_path, tools]))
    done = subprocess.run(
        [kafka.java, "-cp", class_path, _SCRIPTS[script], *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compiled(source: str, folder: Path) -> list[str]:
    """The command that runs the one class of a source text, with Kafka's client on the class path.

    Skips the test when there is no compiler.
    """
    found = re.search(r"^(?:public )?class (\w+)", source, re.MULTILINE)
    assert found, "there is no class in it"
    kafka = install()
    try:
        compiler = jars.fetch(jars.cache_dir(), extra=[_COMPILER])[-1]
    except EmbeddedKafkaError as error:
        pytest.skip(f"no Java compiler: {error}")
    file = folder / f"{found[1]}.java"
    file.write_text(source)
    class_path = ":".join(map(str, kafka.class_path))
    main = "org.eclipse.jdt.internal.compiler.batch.Main"
    options = ["-17", "-proc:none", "-cp", class_path, "-d", folder]
    done = subprocess.run(
        [kafka.java, "-cp", compiler, main, *options, file], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [str(kafka.java), "-cp", f"{folder}:{class_path}", found[1]]
