"""The pages: files in `pages/`, each in the same layout, and nothing from anywhere else.

What pages load, they ask for by its version, so browsers may keep it: a click costs the worker one request, not four.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from string import Template
from typing import Final, NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler

from streams.worker.web.accept import preferred

_FILES: Final = Path(__file__).parent / "pages"


class _Page(NamedTuple):
    """A page of `NAME.html`, what stands in its main part, and `NAME.js`."""

    title: str
    #: What shows the same without JavaScript, as HTML.
    instead: str


_PAGES: Final = {
    "live": _Page("Telefonie", '<a href="/status">/status</a> and <a href="/metrics">/metrics</a>'),
    "call": _Page(
        "Call · Telefonie", "<code>telefonie calls get</code> and <code>telefonie completed get</code>"
    ),
    "open": _Page("Open calls · Telefonie", "<code>telefonie calls open</code>"),
    "rejected": _Page("Rejected records · Telefonie", "<code>telefonie dead list</code>"),
    "letter": _Page("Rejected record · Telefonie", "<code>telefonie dead show</code>"),
    "kpis": _Page("KPIs · Telefonie", "the topic of KPI windows"),
}
_ASSETS: Final = {
    "page.css": "text/css",
    "icon.svg": "image/svg+xml",
    "common.js": "text/javascript",
    **{f"{name}.js": "text/javascript" for name in _PAGES},
}
_VERSION: Final = hashlib.sha256(
    b"".join(each.read_bytes() for each in sorted(_FILES.iterdir()))
).hexdigest()[:16]
_KEPT: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_POLICY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept",
}


def routes(index: str) -> Collection[web.RouteDef]:
    """The routes of files; `/` answers with `index`, plain text, unless HTML is asked for."""
    live = page("live")

    async def root(request: web.Request) -> web.Response:
        return (
            live() if wanted(request, "text/plain") else web.Response(text=index, headers={"Vary": "Accept"})
        )

    return [web.get("/", root), *(web.get(f"/{name}", _asset(name, kind)) for name, kind in _ASSETS.items())]


def wanted(request: web.Request, other: str) -> bool:
    """Whether a page is asked for rather than an answer of the other media type."""
    return preferred(request.headers.get("Accept", ""), (other, "text/html")) == "text/html"


def page(name: str) -> Callable[[], web.Response]:
    """What answers with a page, which is the same for everybody: it asks for what it shows."""
    layout = Template((_FILES / "layout.html").read_text("utf-8"))
    main = (_FILES / f"{name}.html").read_text("utf-8")
    body = _versioned(layout.substitute(_PAGES[name]._asdict(), name=name, main=main))
    return lambda: web.Response(body=body, content_type="text/html", charset="utf-8", headers=_POLICY)


def _asset(name: str, kind: str) -> Handler:
    body = _versioned((_FILES / name).read_text("utf-8"))

    async def serve(request: web.Request) -> web.Response:
        # Of another version it may be what a worker of another release has told a browser to ask for.
        kept = _KEPT if request.query_string == _VERSION else {}
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=_POLICY | kept)

    return serve


def _versioned(text: str) -> bytes:
    """A file in which others are asked for by their version."""
    for name in _ASSETS:
        text = text.replace(f'"/{name}"', f'"/{name}?{_VERSION}"')
    return text.encode()
