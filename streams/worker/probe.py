"""Ask the worker on this machine whether it lives: `python -m streams.worker.probe /live`, or `/ready`.

For health checks where no HTTP client is installed. Exits 0 when it answers 200; else prints what it says and exits 1.
"""

import http.client
import os
import sys
from ipaddress import ip_address

from streams.settings import PREFIX, Settings

SECONDS = 4.0
"""How long an answer may take."""


def problem(settings: Settings, path: str) -> str | None:
    """What the worker says is wrong, or that it does not answer; None when all is well."""
    host = _address(settings.http_bind)
    connection = http.client.HTTPConnection(host, settings.http_port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        said = response.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"no worker answers at {host}:{settings.http_port} ({PREFIX}HTTP_PORT): {error}"
    finally:
        connection.close()
    return None if response.status == http.HTTPStatus.OK else said


def _address(bind: str) -> str:
    """Where to ask: all addresses can be listened on, not called."""
    try:
        return "localhost" if ip_address(bind).is_unspecified else bind
    except ValueError:
        return bind


def main(path: str = "/live") -> None:
    """The command."""
    if found := problem(Settings.load(os.environ), path):
        raise SystemExit(found)


if __name__ == "__main__":
    main(*sys.argv[1:2])
