"""Errors that are shown to people."""


class OperatorError(Exception):
    """Something the operator can fix: the message is one line that says what was wrong and what to do.

    Commands print it as `error: …` and exit 1; it never carries a traceback.
    """
