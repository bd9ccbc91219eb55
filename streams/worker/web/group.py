"""The other workers of the group, asked over HTTP: which they are, the group's coordinator says.

Nothing else is ever asked than the addresses that the members themselves have told it. A request between workers names
the member that it is meant for: that one answers for itself alone, so no request is passed on twice, and an address
that leads to another worker is noticed.

A worker asks with no more rights than the client that it answers has: what another one says may be passed on as it is.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import aiohttp
import msgspec

from streams.engine.members import Member, MembersUnknownError
from streams.settings import PREFIX, Settings
from streams.worker.endpoint import is_wildcard, url_of

MEMBER: Final = "Telefonie-Member"
"""The header that names the member of the group that is asked, for what it holds itself."""

_MEMBERS_SECONDS: Final = 3.0
#: A worker gives its brokers 3 s to confirm what it holds.
_ANSWER_SECONDS: Final = 5.0

Query = Sequence[tuple[str, str]]


class Membership(Protocol):
    """Who knows the group."""

    async def members(self) -> tuple[str, list[Member]]:
        """Our id in the group, and all its members, ourselves among them. Raises MembersUnknownError."""


class Reply(NamedTuple):
    """What a worker says: status 200 or 404 and a document, or a problem, one line."""

    member: Member
    status: int = 0
    document: dict[str, Any] = {}  # noqa: RUF012
    problem: str = ""

    @property
    def partitions(self) -> set[int]:
        """The partitions that it has certainly looked at."""
        return set(self.document.get("partitions", ()))


class _Request(NamedTuple):
    """What other workers are asked."""

    path: str
    query: Query
    rights: dict[str, str]
    limit: aiohttp.ClientTimeout


class Group:
    """The workers but this one. Its connections are closed by `stop`."""

    def __init__(self, settings: Settings, membership: Membership) -> None:
        self._settings, self._membership = settings, membership
        self._session: aiohttp.ClientSession | None = None

    async def others(self, seconds: float = _MEMBERS_SECONDS) -> list[Member]:
        """The other members of the group. Raises MembersUnknownError when that cannot be known in time."""
        try:
            async with asyncio.timeout(seconds):
                own, found = await self._membership.members()
        except TimeoutError:
            raise MembersUnknownError("the brokers do not say who is in the group") from None
        return [member for member in found if member.id != own]

    async def ask(
        self,
        members: Iterable[Member],
        path: str,
        query: Query = (),
        *,
        granted: bool,
        seconds: float = _ANSWER_SECONDS,
    ) -> list[Reply]:
        """Ask these workers at the same time, and wait at most `seconds`.

        `granted` says whether the client on whose behalf they are asked may see call data.
        """
        request = _Request(path, query, self._rights(granted), aiohttp.ClientTimeout(seconds))
        return await asyncio.gather(*(self._ask(member, request) for member in members))

    async def _ask(self, member: Member, request: _Request) -> Reply:
        who = f"the worker of the partitions {member.partitions}"
        if urlsplit(member.address).scheme not in ("http", "https"):
            return Reply(member, problem=f"{who} does not say where it is: set its {PREFIX}HTTP_ADVERTISE")
        who = f"{who} at {member.address}"
        try:
            async with self._client().get(
                member.address + request.path,
                params=request.query,
                headers={MEMBER: member.id, **request.rights},
                allow_redirects=False,
                timeout=request.limit,
            ) as answer:
                return _judged(member, answer.status, _document(await answer.read()), who)
        except (aiohttp.ClientError, OSError) as error:
            return Reply(member, problem=f"{who} does not answer ({_reason(error)})")

    def _rights(self, granted: bool) -> dict[str, str]:
        """The headers that give another worker's answer the rights of the client."""
        if not granted:
            # Without a token an address of this machine would be enough, were this not said.
            return {"Forwarded": "for=unknown"}
        token = self._settings.api_token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    async def stop(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def _document(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _judged(member: Member, status: int, document: dict[str, Any], who: str) -> Reply:
    if document and (status == 200 or (status == 404 and "of" in document)):
        return Reply(member, status, document)
    token = f"{PREFIX}API_TOKEN"
    known = {
        401: f"has another {token} than this one: all workers need the same",
        403: f"serves call data to its own machine only: workers on several machines need the same {token}",
        404: f"is no worker: is its {PREFIX}HTTP_ADVERTISE right?",
        421: f"is another one there: {PREFIX}HTTP_ADVERTISE has to name an address that leads to that very worker",
        503: f"cannot tell now: {document.get('detail', 'no reason given')}",
    }
    return Reply(member, problem=f"{who} {known.get(status, f'answers {status}')}")


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "not in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0
        return os.strerror(number) if number > 0 else error.os_error.strerror or "no connection"
    return type(error).__name__


def advertised(settings: Settings, address: str) -> str:
    """The URL under which other workers reach a web server that listens at `address`.

    One that listens on all addresses is reached at that from which this machine reaches the brokers: whoever is in
    the group is on that network too.
    """
    if settings.http_advertise is not None:
        return settings.http_advertise
    parts = urlsplit(address)
    host = parts.hostname or ""
    if is_wildcard(host):
        host = _own_address(settings, socket.AF_UNSPEC if ":" in host else socket.AF_INET)
    return url_of(host, parts.port)


def _own_address(settings: Settings, family: socket.AddressFamily) -> str:
    host, _, port = (settings.brokers or "").split(",")[0].rpartition(":")
    try:
        kind, _, _, _, place = socket.getaddrinfo(host.strip("[]"), int(port), family, socket.SOCK_DGRAM)[0]
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect(place)  # sends nothing
            return str(probe.getsockname()[0])
    except (OSError, ValueError):
        return socket.gethostname()
