"""A Kafka request that aiokafka does not have: changing individual settings of topics.

Its own `alter_configs` resets every setting that it does not name.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

_KEY, _TOPIC, _SET = 44, 2, 0


class _Response(Response):
    API_KEY, API_VERSION = _KEY, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "resources",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _Struct(RequestStruct):
    API_KEY, API_VERSION = _KEY, 0
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(
                        ("config_name", String("utf-8")),
                        ("config_operation", Int8),
                        ("config_value", String("utf-8")),
                    ),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class ChangeTopics(Request[_Struct]):
    """Sets settings of topics, by name. The answer has `resources`: error code, message, type and name of each."""

    API_KEY = _KEY

    def __init__(self, changes: Mapping[str, Mapping[str, str]]) -> None:
        self._changes = changes

    def build(self, request_struct_class: type[_Struct]) -> _Struct:
        """As aiokafka sends it."""
        topics = [
            (_TOPIC, topic, [(name, _SET, value) for name, value in settings.items()])
            for topic, settings in self._changes.items()
        ]
        return request_struct_class(topics, False)
