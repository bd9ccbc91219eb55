"""The fault suite: real brokers, real worker processes, and what they published compared with the pure fold."""

import os
import time
from random import Random

import pytest


@pytest.fixture
def seed() -> int:
    """Decides what is left to chance; printed, and given back with TEST_SEED to repeat a failure."""
    chosen = int(os.environ.get("TEST_SEED", time.time_ns() % 100_000))
    print("TEST_SEED =", chosen)
    return chosen


@pytest.fixture
def chance(seed: int) -> Random:
    """Of the seed."""
    return Random(seed)
