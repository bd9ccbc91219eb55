"""The faster start of the embedded Kafka, for tests in several processes."""

import fcntl
import os
from pathlib import Path
from tempfile import gettempdir

from streams.embedded import training


def train() -> None:
    """Once on a machine: ten seconds in the process that comes first, which the others wait for."""
    with (Path(gettempdir()) / f"telefonie-training-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        training.train()
