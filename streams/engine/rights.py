"""What the brokers refuse us for want of a right, in words that name the right."""

from __future__ import annotations

from aiokafka import errors

from streams.errors import OperatorError

_KINDS = {
    errors.TopicAuthorizationFailedError: "topic",
    errors.GroupAuthorizationFailedError: "group",
    errors.TransactionalIdAuthorizationFailed: "transactional id",
    errors.ClusterAuthorizationFailedError: "cluster",
}


class NotAllowedError(OperatorError):
    """The brokers know who we are, and do not let us do it."""


def named(error: BaseException, topic_operation: str = "Read or Write") -> BaseException:
    """The error; or, if a right is missing, one that says which: `topic_operation` is the one on topics."""
    kind = next((kind for refused, kind in _KINDS.items() if isinstance(error, refused)), None)
    if kind is None:
        return error
    operation = {"topic": topic_operation, "group": "Read", "transactional id": "Write"}.get(kind, "this")
    return NotAllowedError(
        f"the brokers refuse this user: the ACL {operation} on the {kind}{_names(error)} is missing"
    )


def _names(error: BaseException) -> str:
    """What an error of aiokafka's is about: a name, or several."""
    what = error.args[0] if error.args else ()
    names = [what] if isinstance(what, str) else sorted(map(str, what))
    return f" {', '.join(names)}" if names else ""
