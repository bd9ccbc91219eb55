"""Why a record was not accepted (semantics, section 2)."""

from typing import Final, Literal, get_args

Reason = Literal[
    "too-early",
    "unsupported-content-type",
    "empty",
    "malformed",
    "schema",
    "too-large",
    "too-late",
    "failed",
]
"""The closed set of reasons; it labels a metric and the header `dead-reason`."""

REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
"""Every reason, in the order in which they are judged: the first that holds is given."""


class Rejected(Exception):
    """A record that the processor does not apply: it goes to the dead letters, and its partition goes on.

    `message` is one line for people. It names properties and types, never a value, since a phone number may be in any
    field. `path` is the JSON path at fault (`$.from`), or None if there is none.
    """

    def __init__(self, reason: Reason, message: str, path: str | None = None) -> None:
        super().__init__(reason, message, path)
        self.reason: Final = reason
        self.message: Final = message
        self.path: Final = path

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" + (f" (at {self.path})" if self.path else "")
