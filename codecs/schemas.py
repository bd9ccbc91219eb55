"""The JSON Schemas of what is read and written."""

from importlib.resources import files
from typing import Any

import msgspec
from msgspec import Struct

from streams.codecs.completed_call import CompletedCall
from streams.codecs.kpi import KpiWindow

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def call_schema() -> bytes:
    """The schema of a Call (draft-07), byte for byte as the provider publishes it."""
    return files(__package__).joinpath("call.schema.json").read_bytes()


def completed_call_schema() -> bytes:
    """The schema of a CompletedCall (draft 2020-12), with the properties of a Call as in the Call schema."""
    schema = _schema(CompletedCall)
    call = msgspec.json.decode(call_schema())
    schema["properties"] |= call["properties"]
    return _encode(schema)


def kpi_window_schema() -> bytes:
    """The schema of a KpiWindow (draft 2020-12)."""
    return _encode(_schema(KpiWindow))


def _schema(record: type[Struct]) -> dict[str, Any]:
    _, definitions = msgspec.json.schema_components([record])
    for definition in definitions.values():
        definition["additionalProperties"] = False
        definition["description"] = definition["description"].partition("\n")[0]
        definition["properties"] = {n: _absent_not_null(p) for n, p in definition["properties"].items()}
    schema = definitions.pop(record.__name__)
    return {"$schema": _DRAFT, **schema} | ({"$defs": definitions} if definitions else {})


def _absent_not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A property that is None in Python is not written, so its schema does not need null."""
    kinds = schema.pop("anyOf", None)
    if kinds is None:
        return schema
    del schema["default"]
    [kind] = [kind for kind in kinds if kind != {"type": "null"}]
    return {**schema, **kind}


def _encode(schema: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(schema)) + b"\n"
