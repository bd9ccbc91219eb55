"""Our worker, as a process on the benchmarks' topics."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks.measure import Process

ROOT = Path(__file__).parents[1]
OUTPUTS = ("", ".dead", ".kpis")
"""What is appended to the name of the completed topic, for each topic that a worker writes."""

HEAP = ("-Xmx1g",)
"""For the broker beside contestants: the embedded one's own heap is too small for hundreds of partitions."""


def environment(brokers: str, group: str, calls: str, completed: str, **settings: str) -> dict[str, str]:
    """The environment of a worker; `settings` by their names without TELEFONIE_."""
    own = {
        "BROKERS": brokers,
        "APP_ID": group,
        "CALLS_TOPIC": calls,
        "COMPLETED_TOPIC": completed,
        "KPIS_TOPIC": f"{completed}.kpis",
        "DEAD_TOPIC": f"{completed}.dead",
        "HTTP_PORT": "0",
        "COMMIT_INTERVAL": "100ms",
        "LOG_LEVEL": "error",
        **settings,
    }
    return os.environ | {f"TELEFONIE_{name}": value for name, value in own.items()}


@contextmanager
def process(
    command: list[str], env: dict[str, str], log: Path | None = None, folder: Path = ROOT
) -> Iterator[Process]:
    """A process in `folder`, killed at the end; its standard error goes to `log`, if there is one."""
    with (
        (log or Path(os.devnull)).open("ab") as said,
        subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=said if log else None
        ) as started,
    ):
        try:
            yield started
        finally:
            started.kill()


def worker(
    env: dict[str, str], log: Path | None = None, checkout: Path = ROOT, python: str = sys.executable
) -> AbstractContextManager[Process]:
    """`telefonie worker`, from the code in `checkout`."""
    return process([python, "-W", "ignore", "-m", "streams", "worker"], env, log, checkout)
