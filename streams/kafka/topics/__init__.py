"""The topics that the processor needs: creating them, and comparing them with what exists."""

from streams.kafka.topics.admin import (
    TopicsError,
    alter,
    check,
    create,
    make_redriven,
    prepare,
    require_calls,
)
from streams.kafka.topics.comparison import ABSENT, Finding, findings
from streams.kafka.topics.existing import Existing
from streams.kafka.topics.specification import Topic, everything, needed

__all__ = [
    "ABSENT",
    "Existing",
    "Finding",
    "Topic",
    "TopicsError",
    "alter",
    "check",
    "create",
    "everything",
    "findings",
    "make_redriven",
    "needed",
    "prepare",
    "require_calls",
]
