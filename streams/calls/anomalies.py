"""The closed set of anomalies (semantics, section 5), as bits: a call carries them in one integer."""

from __future__ import annotations

from enum import IntFlag
from functools import cache
from typing import Final


class Anomaly(IntFlag):
    """What is unusual about a call without being a reason to reject it."""

    # From the history: these stay with the call.
    OUT_OF_ORDER = 1
    CONFLICTING_STATUS = 2
    IDENTITY_CHANGED = 4
    NO_HISTORY = 8
    TIMED_OUT = 16
    # Computed from what a revision says.
    MISSING_ANSWER = 32
    DURATION_MISMATCH = 64
    END_BEFORE_START = 128
    PRICE_INVALID = 256
    PRICE_WITHOUT_CURRENCY = 512
    CURRENCY_UNKNOWN = 1024
    ID_NOT_UUID = 2048
    NUMBER_UNKNOWN = 4096


#: The name of each anomaly in records and metrics.
NAMES: Final[dict[Anomaly, str]] = {bit: (bit.name or "").lower().replace("_", "-") for bit in Anomaly}

# Plain integers for the message path: arithmetic on an IntFlag builds an object each time.
OUT_OF_ORDER: Final = int(Anomaly.OUT_OF_ORDER)
CONFLICTING_STATUS: Final = int(Anomaly.CONFLICTING_STATUS)
IDENTITY_CHANGED: Final = int(Anomaly.IDENTITY_CHANGED)
NO_HISTORY: Final = int(Anomaly.NO_HISTORY)
TIMED_OUT: Final = int(Anomaly.TIMED_OUT)
MISSING_ANSWER: Final = int(Anomaly.MISSING_ANSWER)
DURATION_MISMATCH: Final = int(Anomaly.DURATION_MISMATCH)
END_BEFORE_START: Final = int(Anomaly.END_BEFORE_START)
PRICE_INVALID: Final = int(Anomaly.PRICE_INVALID)
PRICE_WITHOUT_CURRENCY: Final = int(Anomaly.PRICE_WITHOUT_CURRENCY)
CURRENCY_UNKNOWN: Final = int(Anomaly.CURRENCY_UNKNOWN)
ID_NOT_UUID: Final = int(Anomaly.ID_NOT_UUID)
NUMBER_UNKNOWN: Final = int(Anomaly.NUMBER_UNKNOWN)

#: The anomalies that stay with the call.
OF_HISTORY: Final = OUT_OF_ORDER | CONFLICTING_STATUS | IDENTITY_CHANGED | NO_HISTORY | TIMED_OUT


@cache
def names(bits: int) -> list[str]:
    """The sorted names of a set of anomalies. The list is shared: do not change it."""
    return sorted(name for bit, name in NAMES.items() if bits & bit)
