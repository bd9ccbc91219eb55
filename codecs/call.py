"""The Telefonie Call as it is carried once accepted: a snapshot of one call at one moment."""

from typing import Annotated, Final, Literal, get_args

from msgspec import UNSET, Meta, Struct, UnsetType, field

Status = Literal["queued", "ringing", "in-progress", "completed", "failed", "busy", "no-answer", "canceled"]
Direction = Literal["inbound", "outbound"]
AnsweredBy = Literal["human", "machine", "unknown"]

STATUSES: Final[tuple[Status, ...]] = get_args(Status)
"""Every status of a call, in the order of the schema."""


class Call(Struct, gc=False, omit_defaults=True):
    """One event of a call, with the schema's own names; an absent property is `UNSET`.

    `duration` is in whole seconds, up to 64 bits (msgspec's bounds end at 63 bits; the second tier of
    `streams.codecs.decoding` handles the rest). Times, prices and URIs keep the producer's text.
    """

    id: str
    status: Status
    direction: Direction
    from_: str = field(name="from")
    to: str
    duration: Annotated[int, Meta(ge=0, le=2**63 - 1)] | UnsetType = UNSET
    start_time: str | UnsetType = UNSET
    end_time: str | UnsetType = UNSET
    price: str | UnsetType = UNSET
    price_unit: Annotated[str, Meta(min_length=3, max_length=3)] | UnsetType = UNSET
    recording_url: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    status_callback: str | UnsetType = UNSET
    answered_by: AnsweredBy | UnsetType = UNSET
