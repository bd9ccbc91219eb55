"""The pages: files beside this one, served as they are, and nothing from anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from streams.worker.web.accept import preferred

_FILES: Final = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/common.js": ("common.js", "text/javascript"),
    "/call.js": ("call.js", "text/javascript"),
    "/open.js": ("open.js", "text/javascript"),
    "/rejected.js": ("rejected.js", "text/javascript"),
    "/kpis.js": ("kpis.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_POLICY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept",
}


def routes(index: str) -> Collection[web.RouteDef]:
    """The routes of files; `/` answers with `index`, plain text, unless HTML is asked for."""
    return [web.get(path, _handler(name, kind, index)) for path, (name, kind) in _FILES.items()]


def wanted(request: web.Request, other: str) -> bool:
    """Whether a page is asked for rather than an answer of the other media type."""
    return preferred(request.headers.get("Accept", ""), (other, "text/html")) == "text/html"


def page(name: str) -> Callable[[], web.Response]:
    """What answers with a page, which is the same for everybody: what it shows it asks for."""
    body = (Path(__file__).parent / name).read_bytes()
    return lambda: web.Response(body=body, content_type="text/html", charset="utf-8", headers=_POLICY)


def _handler(name: str, kind: str, index: str) -> Handler:
    body = (Path(__file__).parent / name).read_bytes()

    async def serve(request: web.Request) -> web.StreamResponse:
        if kind == "text/html" and not wanted(request, "text/plain"):
            return web.Response(text=index, headers={"Vary": "Accept"})
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=_POLICY)

    return serve
