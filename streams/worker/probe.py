"""Ask the worker on this machine whether it is alive: `python -m streams.worker.probe /live`, or `/ready`.

For health checks where no HTTP client is installed. Exits 0 if it answers 200; otherwise prints the answer and exits 1.
"""

import os
import sys
from http import HTTPStatus

from streams.settings import PREFIX, Settings
from streams.worker.endpoint import NoAnswerError, get, local_url

SECONDS = 4.0
"""How long an answer may take."""


def problem(settings: Settings, path: str) -> str | None:
    """What is wrong according to the worker, or that it does not answer; None if all is well."""
    url = local_url(settings)
    try:
        status, body = get(url, path, seconds=SECONDS)
    except NoAnswerError as error:
        return f"no worker answers at {url} ({PREFIX}HTTP_BIND, {PREFIX}HTTP_PORT): {error}"
    return None if status == HTTPStatus.OK else body.decode(errors="replace").strip()


def main(path: str = "/live") -> None:
    """The command."""
    if found := problem(Settings.load(os.environ), path):
        raise SystemExit(found)


if __name__ == "__main__":
    main(*sys.argv[1:2])
