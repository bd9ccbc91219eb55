"""Documents that are Calls, nearly Calls, and texts that are nearly JSON."""

import json
from typing import Any

from hypothesis import strategies as st

REQUIRED = {
    "id": "5f0c7d1e-8a44-4b8e-9a38-0f7e1f2d3c4b",
    "status": "completed",
    "direction": "outbound",
    "from": "+14155550100",
    "to": "+442071838750",
}
"""The least a Call must have."""

FULL = REQUIRED | {
    "duration": 61,
    "start_time": "2025-06-30T23:58:01.25Z",
    "end_time": "2025-07-01T02:59:02.25+03:00",
    "price": "-0.0130",
    "price_unit": "USD",
    "recording_url": "https://api.example.com/recordings/1.mp3?dl=1#t=2",
    "url": "https://example.com/voice",
    "status_callback": "https://example.com:8443/status",
    "answered_by": "human",
}
"""A Call with every property."""

GOOD_NUMBERS = ["+12", "+123456789012345", "+99"]
BAD_NUMBERS = [
    "", "+", "+1", "+02", "12", "+1234567890123456", "+12\n", "\n+12", "+12 ", "+1٣", "+１２",
    "+1a", "++12", "+12\x00", "sip:+12",
]  # fmt: skip

GOOD_TIMES = [
    "2024-02-29T00:00:00Z",
    "2000-02-29T00:00:00Z",
    "0000-02-29T23:59:59Z",
    "9999-12-31T23:59:59-23:59",
    "2025-01-01t00:00:00z",
    "2025-01-01T00:00:00-00:00",
    "2025-01-01T00:00:00.1234567890123456789012345Z",
    "2016-12-31T23:59:60Z",
    "2025-03-04T23:59:60.999Z",
    "2025-03-05T00:59:60+01:00",
    "2025-03-04T18:29:60-05:30",
]
BAD_TIMES = [
    "",
    "2025-02-29T00:00:00Z",
    "1900-02-29T00:00:00Z",
    "2025-04-31T00:00:00Z",
    "2025-00-01T00:00:00Z",
    "2025-13-01T00:00:00Z",
    "2025-01-00T00:00:00Z",
    "2025-01-01T24:00:00Z",
    "2025-01-01T00:60:00Z",
    "2025-01-01T00:00:61Z",
    "2025-01-01T23:59:61Z",
    "2025-01-01T23:58:60Z",
    "2025-01-01T00:00:60Z",
    "2025-01-01T23:59:60+01:00",
    "2025-01-01 00:00:00Z",
    "2025-01-01_00:00:00Z",
    "2025-01-01T00:00:00",
    "2025-01-01T00:00Z",
    "2025-01-01",
    "2025-01-01T00:00:00+0000",
    "2025-01-01T00:00:00+00",
    "2025-01-01T00:00:00+24:00",
    "2025-01-01T00:00:00+00:60",
    "2025-01-01T00:00:00 Z",
    "2025-01-01T00:00:00.Z",
    "2025-01-01T00:00:00,5Z",
    "2025-01-01T00:00:00Z\n",
    " 2025-01-01T00:00:00Z",
    "20250101T000000Z",
    "2025-W01-1T00:00:00Z",
    "2025-001T00:00:00Z",
    "2025-1-1T00:00:00Z",
    "+2025-01-01T00:00:00Z",
    "-0001-01-01T00:00:00Z",
    "12025-01-01T00:00:00Z",
    "٢٠٢٥-01-01T00:00:00Z",
    "2025-01-01T00:00:00.٣Z",
    "2025-01-01T00:00:00\u22120:00",
    "2025-01-01T00:00:00ZZ",
    "1735689600",
]

GOOD_URIS = [
    "a:",
    "http:",
    "http://",
    "http://h:/",
    "http://u:p@h:80/p;q/r?s=/?#/?",
    "HTTP://H",
    "a+b-c.1:x",
    "mailto:a@example.com",
    "urn:isbn:0451450523",
    "file:///etc/hosts",
    "http://[::1]:80/",
    "http://[1:2:3:4:5:6:7::]/",
    "http://[::ffff:1.2.3.4]/",
    "http://[v1.a:b]/",
    "http://999.999.999.999/",
    "http://%41%zz/".replace("%zz", "%7a"),
    "x://a/!$&'()*+,;=:@-._~%20",
]
BAD_URIS = [
    "",
    "a",
    "/a",
    "//h/p",
    "?q",
    "#f",
    ":x",
    "1a:x",
    "é:x",
    "http://a b",
    "http://h/%zz",
    "http://h/%4",
    "http://h/é",
    "http://h:port/",
    "http://u@v@h/",
    "http://[::1",
    "http://[::1]x/",
    "http://[1::2::3]/",
    "http://[::1.2.3.256]/",
    "http://[1:2:3:4:5:6:7:8:9]/",
    "http://[fe80::1%25en0]/",
    "http://[v.a]/",
    "http://h/[",
    "http://h/?[",
    "http://h/#a#b",
    "http://h/|",
    "http://h/\\",
    "http://h/<>",
    "http://h/{id}",
    "http://h/^",
    'x:"',
    "x:`",
    "http://h\n",
    " http://h",
    "http://h/\x7f",
    "http://h/\x00",
]

_odd: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.lists(st.integers(0, 9), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2),
)
_numbers = st.one_of(
    st.sampled_from(GOOD_NUMBERS + BAD_NUMBERS),
    st.from_regex(r"\+[1-9][0-9]{0,15}", fullmatch=True),
)
_times = st.one_of(
    st.sampled_from(GOOD_TIMES + BAD_TIMES),
    st.from_regex(
        r"20[0-3][0-9]-(0[1-9]|1[0-2])-([0-2][0-9]|3[01])[Tt ]?[0-2][0-9]:[0-6][0-9]:([0-5][0-9]|60)"
        r"(\.[0-9]{1,9})?([Zz]|[+-][0-2][0-9]:[0-5][0-9])?",
        fullmatch=True,
    ),
)
_uris = st.one_of(
    st.sampled_from(GOOD_URIS + BAD_URIS),
    st.from_regex(
        r"[a-z]{1,5}:(//[a-z0-9.@:\[\]%]{0,9})?(/[ -~]{0,6}){0,2}(\?[ -~]{0,5})?(#[ -~]{0,5})?",
        fullmatch=True,
    ),
)
_durations = st.one_of(
    st.sampled_from(
        [0, -0.0, 1, 60.0, 1e3, 60.5, -1, -1.0, 2**63 - 1, 2**63, 2**64 - 1, 2.0**63, True, "60"]
    ),
    st.integers(0, 2**64 - 1),
    st.floats(0, 1e6),
)

_values: dict[str, st.SearchStrategy[Any]] = {
    "id": st.text(max_size=40),
    "status": st.sampled_from(
        ["queued", "ringing", "in-progress", "completed", "failed", "busy", "no-answer"]
    ),
    "direction": st.sampled_from(["inbound", "outbound", "Inbound", ""]),
    "from": _numbers,
    "to": _numbers,
    "duration": _durations,
    "start_time": _times,
    "end_time": _times,
    "price": st.text(max_size=6),
    "price_unit": st.sampled_from(["USD", "usd", "日本円", "😀😀😀", "e\u0301u", "", "US", "USDT"]),
    "recording_url": _uris,
    "url": _uris,
    "status_callback": _uris,
    "answered_by": st.sampled_from(["human", "machine", "unknown", "robot"]),
}


@st.composite
def near_calls(draw: st.DrawFn) -> dict[str, Any]:
    """Documents with at most a few properties that differ from a good Call, so that many are good."""
    document = dict(draw(st.sampled_from([REQUIRED, FULL])))
    for name in draw(st.lists(st.sampled_from(sorted(_values)), max_size=3, unique=True)):
        document[name] = draw(st.one_of(_values[name], _values[name], _odd))
    if draw(st.integers(0, 7)) == 0:
        document.pop(draw(st.sampled_from(sorted(document))))
    if draw(st.booleans()):
        document[draw(st.text(max_size=6))] = draw(_odd)
    return document


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Near Calls as JSON, in one of its ways of writing, now and then with a name that occurs twice."""
    document = draw(near_calls())
    indent, ascii_only = draw(st.sampled_from([None, 1])), draw(st.booleans())
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    if draw(st.integers(0, 3)) == 0:
        name = draw(st.sampled_from(sorted(_values)))
        first, again = (json.dumps({name: draw(_values[name] | _odd)})[1:-1] for _ in range(2))
        text = draw(st.sampled_from([f"{text[:-1]}, {again}}}", f"{text[:-1]}, {first}, {again}}}"]))
    return text.encode("utf-8", "surrogatepass")


_bits = st.sampled_from(
    [
        b"", b" ", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\u", b"\\ud800", b"\\udc00",
        b"null", b"0", b"-", b".0", b"e1", b"e999", b"NaN", b"\x00", b"\x1f", b"\x7f", b"\xff", b"\xc3",
        b"\xed\xa0\x80", b"\xef\xbb\xbf",
    ]
)  # fmt: skip


@st.composite
def mangled_texts(draw: st.DrawFn) -> bytes:
    """Near Calls as JSON, with a few bytes put in, taken out or written over."""
    text = draw(texts())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(_bits) + text[at + draw(st.integers(0, 2)) :]
    return text
