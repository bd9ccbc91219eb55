"""The engine before one transaction for each worker: a producer for each partition, which fences the former owner."""

import subprocess
from pathlib import Path

import pytest

COMMIT = "7dd92498e380"
"""The last one with that engine whose calls and settings are today's: only the engine makes a mixed group mixed."""

_ROOT = Path(__file__).parents[2]

_BEFORE = """
import sys
sys.path.insert(0, {place!r})
import streams.engine
print("runs", *streams.engine.__path__, file=sys.stderr, flush=True)
"""


def former(directory: Path) -> str:
    """What makes a worker one of the former engine (`Worker(before=…)`); skips where the history does not have it."""
    if not (place := directory / "former").exists():
        place.mkdir()
        _unpack(place)
    return _BEFORE.format(place=str(place))


def is_former(said: str, directory: Path) -> bool:
    """Whether the worker with this log really runs the former engine."""
    return f"runs {directory / 'former' / 'streams' / 'engine'}\n" in said


def _unpack(place: Path) -> None:
    """Put the former code into a directory."""
    try:
        git = ["git", "-C", str(_ROOT), "archive", COMMIT, "streams", "codecs"]
        archive = subprocess.run(git, capture_output=True, check=True)
    except OSError as error:
        pytest.skip(f"the former engine takes git: {error}")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the former engine takes the repository's history: {error.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", str(place)], input=archive.stdout, check=True)
