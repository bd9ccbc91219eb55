"""What the worker answers over HTTP."""

from streams.web.server import Health, WebServer

__all__ = ["Health", "WebServer"]
