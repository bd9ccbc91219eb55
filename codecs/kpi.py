"""The KPI window: sums over the calls that closed in one span of time (semantics, section 6)."""

from collections.abc import Callable
from typing import Annotated, Final, cast

import msgspec
from msgspec import Meta, Raw, Struct

from streams.codecs.call import Direction
from streams.codecs.completed_call import Instant


def _count(description: str) -> Meta:
    return Meta(ge=0, description=description)


class KpiWindow(Struct):
    """The calls that closed in one window of time, for one direction, destination country and partition.

    Every field is always written. `completed`, `busy`, `no_answer`, `failed`, `canceled` and `timed_out` add
    up to `attempts`; windows of several partitions add up field by field.
    """

    window_start: Annotated[Instant, Meta(description="When the window begins, inclusive")]
    window_end: Annotated[Instant, Meta(description="When the window ends, exclusive")]
    direction: Direction
    country: Annotated[str, Meta(description="ISO 3166-1 alpha-2 destination region, ZZ when unknown")]
    partition: int
    attempts: Annotated[int, _count("Calls that closed")]
    completed: Annotated[int, _count("Calls that ended with status completed")]
    busy: Annotated[int, _count("Calls that ended with status busy")]
    no_answer: Annotated[int, _count("Calls that ended with status no-answer")]
    failed: Annotated[int, _count("Calls that ended with status failed")]
    canceled: Annotated[int, _count("Calls that ended with status canceled")]
    timed_out: Annotated[int, _count("Calls closed by their timeout")]
    answered: Annotated[int, _count("Calls that were answered")]
    human: Annotated[int, _count("Calls answered by a human")]
    machine: Annotated[int, _count("Calls answered by a machine")]
    talk_seconds: Annotated[float, Meta(description="Sum of talk_seconds")]
    ring_seconds: Annotated[float, Meta(description="Sum of ring_seconds")]
    charges: Annotated[
        dict[str, str], Meta(description="Currency to the exact decimal sum of what was charged in it")
    ]
    uncharged: Annotated[int, _count("Calls with a price that is not in charges")] = 0


def exact_seconds(ms: int) -> float:
    """Whole milliseconds as the JSON number of their seconds, with every digit: a float has 53 bits."""
    whole, fraction = divmod(ms, 1000)
    text = f"{whole}.{fraction:03d}".rstrip("0")
    return cast(float, Raw((text + "0" if text.endswith(".") else text).encode()))


encode_kpi: Final[Callable[[KpiWindow], bytes]] = msgspec.json.Encoder(order="deterministic").encode
"""A KpiWindow as JSON; the same window always gives the same bytes."""

decode_kpi: Final[Callable[[bytes], KpiWindow]] = msgspec.json.Decoder(KpiWindow).decode
"""The KpiWindow in the value of an output record; raises `msgspec.MsgspecError` if there is none."""
