"""Recomputes a range of the log outside the consumer group, and compares the result with the output topics
(`telefonie replay`)."""

from streams.operations.replay.comparison import Comparison, Difference
from streams.operations.replay.outputs import Destination, FileDestination, TopicsDestination, require
from streams.operations.replay.ranges import Bound, Range, Span, bound
from streams.operations.replay.replay import Done, replay

__all__ = [
    "Bound",
    "Comparison",
    "Destination",
    "Difference",
    "Done",
    "FileDestination",
    "Range",
    "Span",
    "TopicsDestination",
    "bound",
    "replay",
    "require",
]
