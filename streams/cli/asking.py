"""Asking the workers' web servers."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from streams.errors import OperatorError
from streams.settings import PREFIX, Settings
from streams.worker.endpoint import NoAnswerError, get, local_url

_TIMEOUT = 15.0  # seconds


class NobodyAnswersError(OperatorError):
    """No worker answers at the URL."""


@dataclass
class Workers:
    """The workers of the group, each of which answers for all.

    Without `urls`, the worker on this machine is asked, and if there is none, those that the group's coordinator knows.
    """

    settings: Settings
    urls: Sequence[str] = ()

    def ask(self, path: str, query: Sequence[tuple[str, str]] = ()) -> tuple[int, dict[str, Any]]:
        """The status, 200 or 404, and the document of the first worker that answers with one; raises OperatorError if
        none does."""
        whole = f"{path}?{urlencode(query)}" if query else path
        failure: OperatorError | None = None
        for url in self._candidates():
            try:
                return self._asked(url.rstrip("/"), whole)
            except OperatorError as error:
                failure = error if failure is None or isinstance(failure, NobodyAnswersError) else failure
        assert failure is not None, "there is at least one candidate"
        raise failure

    def _candidates(self) -> Iterator[str]:
        if self.urls:
            yield from self.urls
            return
        here = local_url(self.settings)
        yield here
        if self.settings.brokers is not None:
            from streams.operations.worker_addresses import addresses

            try:
                yield from asyncio.run(addresses(self.settings))
            except OperatorError as error:
                raise OperatorError(f"no worker answers at {here}, and {error}") from None

    def _asked(self, url: str, path: str) -> tuple[int, dict[str, Any]]:
        status, document = _get(url, path, self.settings.api_token)
        if status == 200 or (status == 404 and "of" in document):
            return status, document
        again = "; ask again" if status == 503 else ""
        raise OperatorError(
            f"the worker at {url} answers {status}: {document.get('detail', 'no reason given')}{again}"
        )


def _get(url: str, path: str, token: str | None) -> tuple[int, dict[str, Any]]:
    try:
        answer = get(url, path, seconds=_TIMEOUT, token=token)
    except NoAnswerError as error:
        raise NobodyAnswersError(
            f"no worker answers at {url} ({error}): pass the address of one with --url, or set "
            f"{PREFIX}HTTP_BIND and {PREFIX}HTTP_PORT, or {PREFIX}BROKERS to look it up in the group"
        ) from None
    except ValueError:
        raise OperatorError(f"{url!r} is no URL of a worker such as http://127.0.0.1:6066") from None
    return answer.status, _document(answer.body)


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
