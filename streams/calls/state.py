"""What is remembered of one call, and how it is written to the changelog.

The key of a call is its id in UTF-8 everywhere, including the output record and the changelog row, so it is not
repeated in the state. Times are integers, in epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Final

import msgspec
from msgspec import Struct

from streams.codecs import AnsweredBy, Direction, Status

#: The rank of a status in the life of a call; 3 is terminal (semantics, section 3).
RANK: Final[dict[Status, int]] = {
    "queued": 0,
    "ringing": 1,
    "in-progress": 2,
    "completed": 3,
    "failed": 3,
    "busy": 3,
    "no-answer": 3,
    "canceled": 3,
}
TERMINAL: Final = frozenset(status for status, rank in RANK.items() if rank == 3)


class CallState(Struct, gc=False, array_like=True):
    """One call, as merged from the events applied to it so far.

    `None` means absent: an optional property, the time at which a status was seen, the closing time. It is flat (no
    containers), so the garbage collector need not scan it, and an array when encoded, so the order of the fields is the
    format of the changelog. `is_open` relies on which field is first, `ClosedCalls` on which are the last two.
    """

    #: When it first closed (semantics, section 4); None while it is open.
    closed_at: int | None
    status: Status
    direction: Direction
    from_: str
    to: str
    #: The greatest event time applied: with `call_timeout` it determines when an open call is due.
    last: int
    #: Log offset of the last record that was applied.
    offset: int
    events: int = 1
    revision: int = 0
    #: Closed by its timeout, and no terminal event has arrived since.
    timed_out: bool = False
    #: The anomalies that stay, as bits (`anomalies.py`); above them, how the call was counted (`counted.py`).
    history: int = 0
    duration: int | None = None
    #: In UTC (`times.utc`), so that another notation of the same instant changes nothing.
    start_time: str | None = None
    end_time: str | None = None
    price: str | None = None
    price_unit: str | None = None
    recording_url: str | None = None
    answered_by: AnsweredBy | None = None
    # The timeline: for each status the earliest event time at which it was seen.
    queued: int | None = None
    ringing: int | None = None
    in_progress: int | None = None
    completed: int | None = None
    failed: int | None = None
    busy: int | None = None
    no_answer: int | None = None
    canceled: int | None = None
    url: str | None = None
    status_callback: str | None = None

    @property
    def first_seen(self) -> int:
        """The earliest event time of the call."""
        return min([time for time in _times(self) if time is not None])


#: The field of the timeline that belongs to a status.
SEEN: Final[dict[Status, str]] = {status: status.replace("-", "_") for status in RANK}
_times: Final[Callable[[CallState], tuple[int | None, ...]]] = attrgetter(*SEEN.values())

encode_state = msgspec.msgpack.Encoder().encode
decode_state = msgspec.msgpack.Decoder(CallState).decode


def share_strings(state: CallState) -> CallState:
    """Store texts that many calls share once in memory: URLs, and the account's own number; returns the state."""
    if state.url is not None:
        state.url = shared(state.url)
    if state.status_callback is not None:
        state.status_callback = shared(state.status_callback)
    return share_number(state)


def share_number(state: CallState) -> CallState:
    """Store the account's own number, which many calls share, once in memory; returns the state."""
    if state.direction == "outbound":
        state.from_ = shared(state.from_)
    else:
        state.to = shared(state.to)
    return state


def shared(text: str) -> str:
    """The one object for a text that many calls share. `sys.intern` would keep each of them forever on Python 3.12."""
    found = _SHARED.get(text)
    if found is not None:
        return found
    if len(text) <= _LONGEST_SHARED:
        if len(_SHARED) >= _MOST_SHARED:
            _SHARED.clear()  # calls that hold one keep it alive; others will share the next
        _SHARED[text] = text
    return text


_SHARED: Final[dict[str, str]] = {}
_MOST_SHARED: Final = 1 << 14
_LONGEST_SHARED: Final = 512


def is_open(packed: bytes) -> bool:
    """Whether an encoded state is that of an open call, without decoding it: its first field is nil."""
    return packed[_FIRST] == _NIL


def read_closed_at(packed: bytes) -> int | None:
    """The first field of an encoded state, without decoding the others if it is a time after January 1970."""
    if packed[_FIRST] == _UINT64:
        return int.from_bytes(packed[_FIRST + 1 : _FIRST + 9], "big")
    return decode_state(packed).closed_at


#: The header of an array of more than 15 fields takes three bytes in MessagePack.
_FIRST: Final = 3
_NIL: Final = 0xC0
_UINT64: Final = 0xCF
