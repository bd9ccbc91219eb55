"""What the worker answers over HTTP."""

from streams.worker.web.server import Health, WebServer

__all__ = ["Health", "WebServer"]
