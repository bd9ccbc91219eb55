"""What a client is given, by its `Accept` header."""

import pytest

from streams.worker.web.accept import preferred

TEXT, HTML = "text/plain", "text/html"
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/*", TEXT),
        ("application/json", TEXT),
        ("garbage;version=;;,/,text", TEXT),
        (CHROME, HTML),
        ("text/html", HTML),
        ("TEXT/HTML ; q=0.1", HTML),
        ("text/html,*/*", HTML),
        ("text/html;q=0", TEXT),
        ("text/html;q=0,*/*", TEXT),
        ("text/html;q=0.000, text/*", TEXT),
        ("text/html;level=1;q=0", TEXT),
        ("text/html;q=0.3, text/plain;q=0.4", TEXT),
        ("text/html;q=0.5, */*;q=0.4", HTML),
        ("text/plain;q=0, */*", HTML),
        ("text/html;q=0.3, text/*;q=0.9", TEXT),
    ],
)
def test_what_is_preferred(accept: str, found: str) -> None:
    assert preferred(accept, (TEXT, HTML)) == found
