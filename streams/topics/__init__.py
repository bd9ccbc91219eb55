"""The topics that the processor needs: made, and compared with what exists."""

from streams.topics.admin import TopicsError, alter, check, create, make_redriven, prepare, require_calls
from streams.topics.comparison import ABSENT, Finding, findings
from streams.topics.rules import Existing
from streams.topics.specification import Topic, everything, needed

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
