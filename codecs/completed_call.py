"""The CompletedCall: what is published about a closed call, revision by revision (semantics, section 5)."""

from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

from streams.codecs.call import AnsweredBy, Direction, Status

ClosedBy = Literal["status", "timeout"]

ANOMALIES: Final = (
    "conflicting-status",
    "currency-unknown",
    "duration-mismatch",
    "end-before-start",
    "id-not-uuid",
    "identity-changed",
    "missing-answer",
    "no-history",
    "number-unknown",
    "out-of-order",
    "price-invalid",
    "price-without-currency",
    "timed-out",
)
"""The closed set of anomalies that a CompletedCall may have, sorted."""

Anomaly = Annotated[str, Meta(extra_json_schema={"enum": ANOMALIES})]
"""The name of an anomaly, one of `ANOMALIES`."""

Instant = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""An RFC 3339 time in UTC, to the millisecond."""


class Timeline(Struct, gc=False, omit_defaults=True, rename=lambda name: name.replace("_", "-")):
    """When each status was first seen, by event time; None (absent in JSON) for one that was not."""

    queued: Instant | None = None
    ringing: Instant | None = None
    in_progress: Instant | None = None
    completed: Instant | None = None
    failed: Instant | None = None
    busy: Instant | None = None
    no_answer: Instant | None = None
    canceled: Instant | None = None


class Source(Struct, gc=False):
    """The last record of the call that was applied."""

    topic: str
    partition: int
    offset: int


class CompletedCall(Struct, gc=False, omit_defaults=True):
    """A closed call as merged from its events, with what is derived from them; a valid Telefonie Call itself.

    None means absent, and is not written. The fields that are always present come first, so that the record can be
    built by position: with keywords it takes seven times as long.
    """

    id: str
    status: Status
    direction: Direction
    from_: str = field(name="from")
    to: str
    revision: Annotated[int, Meta(ge=1, description="Publication number for this call")]
    closed_by: Annotated[ClosedBy, Meta(description="Why the call is closed")]
    closed_at: Annotated[Instant, Meta(description="When the call first closed")]
    timeline: Annotated[Timeline, Meta(description="When each status was first seen")]
    answered: Annotated[bool, Meta(description="Whether the call was ever answered")]
    events: Annotated[int, Meta(ge=1, description="Records applied to this call so far, duplicates included")]
    source: Annotated[Source, Meta(description="The last record of this call that was applied")]
    duration: int | None = None
    start_time: str | None = None
    end_time: str | None = None
    price: str | None = None
    price_unit: str | None = None
    recording_url: str | None = None
    url: str | None = None
    status_callback: str | None = None
    answered_by: AnsweredBy | None = None
    from_country: Annotated[
        str | None, Meta(description="ISO 3166-1 alpha-2 region of the originating number, if known")
    ] = None
    to_country: Annotated[
        str | None, Meta(description="ISO 3166-1 alpha-2 region of the destination number, if known")
    ] = None
    ring_seconds: Annotated[
        float | None, Meta(description="Seconds from ringing to the answer, or to the end if never answered")
    ] = None
    talk_seconds: Annotated[float | None, Meta(description="Seconds from start_time to end_time")] = None
    anomalies: Annotated[
        list[Anomaly] | None, Meta(description="What is unusual about this call, sorted")
    ] = None


encode_completed: Final[Callable[[CompletedCall], bytes]] = msgspec.json.Encoder().encode
"""A CompletedCall as JSON; the same record always gives the same bytes."""

decode_completed: Final[Callable[[bytes], CompletedCall]] = msgspec.json.Decoder(CompletedCall).decode
"""The CompletedCall in the value of an output record; raises `msgspec.MsgspecError` if there is none."""
