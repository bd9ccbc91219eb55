"""What is wrong with a value that no decoder can read, without anything of the value."""

from __future__ import annotations

from typing import Final

from streams.codecs.messagepack import UnreadableDocumentError
from streams.codecs.nesting import SMALL, is_deep

_UTF_16: Final = "it begins with the byte-order mark of UTF-16; write UTF-8"
_GLUE: Final = (
    "it begins like a frame of AWS Glue Schema Registry; only Confluent's (byte 0, 4-byte id) is skipped"
)
#: How values in unsupported encodings begin, and what to say about each.
_FOREIGN: Final = {
    b"\xef\xbb\xbf": "it begins with a byte-order mark; write it without one",
    b"\xff\xfe": _UTF_16,
    b"\xfe\xff": _UTF_16,
    b"\x03\x00": _GLUE,
    b"\x03\x05": _GLUE,
}


def explain(error: Exception, document: bytes) -> str:
    """What a decoder found wrong with a JSON document (empty: with another one)."""
    for beginning, explanation in _FOREIGN.items():
        if document.startswith(beginning):
            return explanation
    if document[:1] == b"\0" and document[4:5] == b"{":  # what is left of 9 bytes after 5 are skipped
        return "it begins like a frame with an 8-byte schema id; only Confluent's (byte 0 and a 4-byte id) is skipped"
    if isinstance(error, UnreadableDocumentError):
        return str(error)
    # Where decoders give up differs between interpreters; the message does not.
    if isinstance(error, RecursionError) or (len(document) >= SMALL and is_deep(document)):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it has invalid UTF-8"
    if "truncated" in str(error):  # also msgspec's answer to a lone surrogate
        return "it ends too early or has a lone surrogate"
    return str(error).rpartition("malformed: ")[2]
