"""Whether anything was lost or doubled, by what a group has left in its topics: asked when no worker runs any more."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from benchmarks.measure import published
from benchmarks.worker import ROOT

_DIFFERENCES = ("missing", "differing", "extra")
_SHOWN = 20
_LIMIT_SECONDS = 7_200.0


def status(env: dict[str, str]) -> dict[str, Any]:
    """What `telefonie status` counts. Raises CalledProcessError when an equation is violated."""
    command = [sys.executable, "-m", "streams", "status", "--recount", "--json"]
    found: dict[str, Any] = json.loads(
        subprocess.check_output(command, cwd=ROOT, env=env, timeout=_LIMIT_SECONDS)
    )
    return found


def compared(env: dict[str, str]) -> dict[str, dict[str, int]]:
    """How `telefonie replay --compare` judges calls, revisions and KPI windows, as far as the topics still hold them.

    Raises RuntimeError when one is missing, differing or extra, or when none is equal.
    """
    # Its exit code is 1 also where retention has removed the beginning of a topic, which is no fault here.
    command = [sys.executable, "-W", "ignore", "-m", "streams", "replay", "--compare", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=_LIMIT_SECONDS
    )
    *differences, last = done.stdout.splitlines() or [""]
    found: dict[str, dict[str, int]] = json.loads(last)["comparison"] if last else {}
    kinds = [found.get(each, {}) for each in ("calls", "revisions", "windows")]
    if any(each.get(name) for each in kinds for name in _DIFFERENCES) or not all(
        each.get("equal") for each in kinds[:2]
    ):
        raise RuntimeError("\n".join(["replay --compare:", *differences[:_SHOWN], last, done.stderr[-3000:]]))
    return found


def exactly_once(brokers: str, topic: str, partitions: int) -> int:
    """How many records a read_committed reader finds in the topic. Raises RuntimeError when one is there twice.

    Each revision of a call differs from every other one: it names the record that has caused it, or is the only one
    that its timeout has caused.
    """
    records, different = counted(
        (each.key() or b"", each.value() or b"") for each in published(brokers, topic, partitions)
    )
    if records != different:
        raise RuntimeError(f"{records - different} of {records} records of {topic} are there twice")
    return records


def counted(records: Iterable[tuple[bytes, bytes]]) -> tuple[int, int]:
    """How many records there are, and how many different ones. Takes about 100 bytes for each."""
    digests, count = set[bytes](), 0
    for key, value in records:
        count += 1
        digests.add(blake2b(b"%d %b%b" % (len(key), key, value), digest_size=12).digest())
    return count, len(digests)
