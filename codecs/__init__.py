"""Bytes to typed records and back: pure, no Kafka, no Faust, no clock, no logging.

Imported as `streams.codecs` (through a symbolic link in `streams/`): `codecs` alone is a module of the standard
library, which is loaded before any other code.
"""

from streams.codecs.asyncapi import asyncapi
from streams.codecs.call import STATUSES, AnsweredBy, Call, Direction, Status
from streams.codecs.completed_call import (
    ANOMALIES,
    ClosedBy,
    CompletedCall,
    Source,
    Timeline,
    decode_completed,
    encode_completed,
)
from streams.codecs.dead import Rejection, dead_headers, smaller_letter, split_headers, without_value
from streams.codecs.decoding import MAX_PROPERTY_BYTES, CallDecoder
from streams.codecs.kpi import KpiWindow, decode_kpi, encode_kpi, exact_seconds
from streams.codecs.rejection import REASONS, Reason, Rejected
from streams.codecs.schemas import call_schema, completed_call_schema, kpi_window_schema

__all__ = [
    "ANOMALIES",
    "MAX_PROPERTY_BYTES",
    "REASONS",
    "STATUSES",
    "AnsweredBy",
    "Call",
    "CallDecoder",
    "ClosedBy",
    "CompletedCall",
    "Direction",
    "KpiWindow",
    "Reason",
    "Rejected",
    "Rejection",
    "Source",
    "Status",
    "Timeline",
    "asyncapi",
    "call_schema",
    "completed_call_schema",
    "dead_headers",
    "decode_completed",
    "decode_kpi",
    "encode_completed",
    "encode_kpi",
    "exact_seconds",
    "kpi_window_schema",
    "smaller_letter",
    "split_headers",
    "without_value",
]
