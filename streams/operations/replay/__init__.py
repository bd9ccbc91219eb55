"""A range of the log once more, beside the consumer group: what the calls topic says, and whether that is what
the output topics hold (`telefonie replay`)."""

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
