"""What is known about an error of Kafka's where it occurs: written on the error, and read when it is put into words."""

from __future__ import annotations

from typing import Final

from streams.errors import OperatorError

#: Why an address of a broker cannot be reached, by `host:port`; an entry is removed once it can.
unreached: Final[dict[str, str]] = {}


class NotAllowedError(OperatorError):
    """The brokers know who we are, and do not let us do it."""

    @classmethod
    def of(cls, error: BaseException, kind: str, operation: str) -> NotAllowedError:
        """In words: `kind` is what the right is on, such as a topic; the error has its name, or several."""
        what = error.args[0] if error.args else ()
        names = [what] if isinstance(what, str) else sorted(map(str, what))
        on = f"{kind} {', '.join(names)}" if names else kind
        return cls(f"the brokers refuse this user: the ACL {operation} on the {on} is missing")


def about(error: BaseException | None, where: str) -> None:
    """Note on an error what it is about, such as `topic x partition 3`. Once is enough."""
    if error is not None and where not in getattr(error, "__notes__", ()):
        error.add_note(where)


def lacking(error: BaseException, operation: str) -> None:
    """Note on an error which operation is refused if it is a missing right on a topic."""
    error.missing_operation = operation  # type: ignore[attr-defined]


def missing_operation(error: BaseException) -> str | None:
    """The operation that `lacking` has noted."""
    return getattr(error, "missing_operation", None)


def unreached_text() -> str:
    """Which addresses of brokers cannot be reached, and why, to be put after other words; empty when all can."""
    listed = "; ".join(f"{address}: {why}" for address, why in sorted(unreached.items()))
    return f": {listed}" if listed else ""
