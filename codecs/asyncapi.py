"""The AsyncAPI 3 document of the four topics: what is read and written, for tools and for other teams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from streams.codecs.rejection import REASONS
from streams.codecs.schemas import call_schema, completed_call_schema, kpi_window_schema

_JSON: Final = "application/json"
_CALL_ID: Final = {"type": "string", "description": "The call id"}

_PURPOSE: Final = {
    "calls": "Call events: each a snapshot of one call at the moment of its record's timestamp",
    "completed": "Closed calls; the last revision of a key is the one that counts",
    "kpis": "KPI windows; the last value of a key is the one that counts",
    "dead": "Rejected records, byte for byte, with the reason in their headers",
}


def asyncapi(topics: Mapping[str, str], version: str) -> bytes:
    """The document (AsyncAPI 3.0, JSON) for topics by the names `calls`, `completed`, `kpis` and `dead`.

    `version` is that of the program. The schemas are in the components, without a dialect of their own: AsyncAPI's is a
    superset of JSON Schema draft-07, and they use nothing else.
    """
    messages = _messages()
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Telefonie streams",
            "version": version,
            "description": "Call events in; completed calls, KPI windows and rejected records out.",
        },
        "defaultContentType": _JSON,
        "channels": {
            name: {
                "address": topics[name],
                "description": purpose,
                "messages": {name: {"$ref": f"#/components/messages/{name}"}},
                "bindings": {"kafka": {"topic": topics[name]}},
            }
            for name, purpose in _PURPOSE.items()
        },
        "operations": {
            ("receive" if name == "calls" else "send") + name.capitalize(): {
                "action": "receive" if name == "calls" else "send",
                "channel": {"$ref": f"#/channels/{name}"},
            }
            for name in _PURPOSE
        },
        "components": {"messages": messages, "schemas": _schemas()},
    }
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"


def _messages() -> dict[str, Any]:
    window = {"type": "string", "description": "WINDOW_START/DIRECTION/COUNTRY/PARTITION"}
    return {
        "calls": _message("Call", _CALL_ID, {"$ref": "#/components/schemas/Call"}, _content_type()),
        "completed": _message("CompletedCall", _CALL_ID, {"$ref": "#/components/schemas/CompletedCall"}),
        "kpis": _message("KpiWindow", window, {"$ref": "#/components/schemas/KpiWindow"}),
        "dead": _message("DeadLetter", {"description": "The rejected record's key"}, {}, _dead_headers()),
    }


def _message(
    name: str, key: Mapping[str, Any], payload: Mapping[str, Any], headers: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    message = {"name": name, "payload": payload, "bindings": {"kafka": {"key": key}}}
    return message | ({"headers": headers} if headers else {"contentType": _JSON})


def _content_type() -> dict[str, Any]:
    known = {"type": "string", "examples": [_JSON, "application/msgpack"]}
    return {"type": "object", "properties": {"content-type": known}}


def _dead_headers() -> dict[str, Any]:
    text = {"type": "string"}
    number = {"type": "string", "pattern": "^[0-9]+$"}
    properties = {
        "dead-reason": {"type": "string", "enum": REASONS},
        "dead-message": {**text, "description": "One line for people"},
        "dead-path": {**text, "description": "The JSON path at fault, if there is one"},
        "dead-topic": text,
        "dead-partition": number,
        "dead-offset": number,
        "dead-timestamp": {
            "type": "string",
            "pattern": "^(-1|[0-9]+)$",
            "description": "The record's own timestamp in epoch ms, -1 for none",
        },
        "dead-value-bytes": {**number, "description": "The size of the value, if it had to be left out"},
    }
    required = [name for name in properties if name not in ("dead-path", "dead-value-bytes")]
    return {"type": "object", "properties": properties, "required": required}


def _schemas() -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    for name, text in (
        ("Call", call_schema()),
        ("CompletedCall", completed_call_schema()),
        ("KpiWindow", kpi_window_schema()),
    ):
        schema = msgspec.json.decode(text.replace(b'"#/$defs/', b'"#/components/schemas/'))
        schemas |= schema.pop("$defs", {})
        schemas[name] = {key: value for key, value in schema.items() if key not in ("$schema", "$id")}
    return schemas
