"""`telefonie calls get` and `calls open`: asked of the workers."""

import os
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import click
import msgspec

from streams.cli.asking import Workers, default_url
from streams.cli.options import Duration, fields, json_option, table, text
from streams.codecs import STATUSES
from streams.errors import OperatorError
from streams.settings import Settings

_url_option = click.option(
    "--url",
    "urls",
    multiple=True,
    metavar="URL",
    help="Where a worker listens; repeat it for each worker of the group.  [default: as HTTP_BIND and HTTP_PORT say]",
)


@click.group()
def calls() -> None:
    """Look into the calls that the workers hold: open ones, and closed ones that are still remembered.

    A worker knows the calls of its own partitions: give the --url of each. Where the setting API_TOKEN is set it
    is sent along; without one a worker answers only on its own machine.

    \b
    Example:
      telefonie calls get 0b6f1c1e-8f2e-4d0b-9a41-3d5c3f0f4d77
      telefonie calls open --older-than 1h
    """


@calls.command()
@click.argument("call_id", metavar="ID")
@_url_option
@json_option
def get(call_id: str, urls: tuple[str, ...], as_json: bool) -> None:
    """Show the state of one call with its timeline.

    Exits 1 when no worker that was asked holds it. A call that closed longer ago than CALL_RETENTION is
    forgotten: `telefonie completed get` finds what was published of it.

    \b
    Example:
      telefonie calls get 0b6f1c1e-8f2e-4d0b-9a41-3d5c3f0f4d77
      telefonie calls get 42 --url http://worker-0.example.com:6066 --url http://worker-1.example.com:6066
    """
    workers = _workers(urls)
    for url in workers.urls:
        status, document = workers.ask(url, f"/calls/{quote(call_id, safe='')}")
        if status == 200:
            _show(document, as_json)
            return
    if missing := workers.missing():
        raise OperatorError(
            f"not found, but partitions {missing} are held by workers that were not asked: give their --url"
        )
    raise OperatorError(
        "no such call is open, or remembered since it closed; `telefonie completed get` looks for what was published"
    )


def _show(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(document))
    else:
        table(("", ""), fields(document))


@calls.command("open")
@click.option(
    "--older-than", type=Duration(), help="Only calls whose first event is older than this, such as 1h."
)
@click.option(
    "--status",
    "statuses",
    type=click.Choice(STATUSES[:3]),
    multiple=True,
    help="Only of this status; repeatable.",
)
@click.option(
    "--country",
    "countries",
    multiple=True,
    metavar="CODE",
    help="Only from or to this country (such as DE); repeatable.",
)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="The oldest so many."
)
@_url_option
@json_option
def open_(
    older_than: int | None,
    statuses: tuple[str, ...],
    countries: tuple[str, ...],
    limit: int,
    urls: tuple[str, ...],
    as_json: bool,
) -> None:
    """List open calls, those that have been open for longest first.

    The table shows no phone numbers, --json the whole calls.

    \b
    Example:
      telefonie calls open --older-than 1h --status in-progress
      telefonie calls open --country DE --json | jq -r .id
    """
    query = [("limit", str(limit)), *(("status", each) for each in statuses)]
    query += [("country", each) for each in countries]
    if older_than is not None:
        query.append(("older_than", f"{older_than}ms"))
    workers = _workers(urls)
    answers = [workers.ask(url, "/calls", query)[1] for url in workers.urls]
    by_id = {call["id"]: call for answer in answers for call in answer["calls"]}
    oldest = sorted(by_id.values(), key=lambda call: call["opened_at"])[:limit]
    if as_json:
        for call in oldest:
            click.echo(msgspec.json.encode(call))
    else:
        table(("id", "status", "open for", "last event", "from", "to", "closes at"), _rows(oldest))
    _tell(len(oldest), sum(answer["total"] for answer in answers), workers.missing())


def _rows(found: Iterable[dict[str, Any]]) -> Iterable[Sequence[str]]:
    now = time.time()
    for call in found:
        yield (
            call["id"],
            call["status"],
            _age(now - datetime.fromisoformat(call["opened_at"]).timestamp()),
            call["last_event_at"],
            text(call.get("from_country")),
            text(call.get("to_country")),
            call["due_at"],
        )


def _age(seconds: float) -> str:
    """`2d 3h`, `1h 12m`, `5m 7s`: the two largest units."""
    left, parts = max(0, int(seconds)), list[str]()
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        n, left = divmod(left, size)
        if n or parts or unit == "s":
            parts.append(f"{n}{unit}")
    return " ".join(parts[:2])


def _tell(shown: int, total: int, missing: list[int]) -> None:
    if shown < total:
        click.echo(f"the oldest {shown} of {total:,}", err=True)
    if missing:
        click.echo(f"not all: partitions {missing} are held by workers that were not asked (--url)", err=True)


def _workers(urls: tuple[str, ...]) -> Workers:
    settings = Settings.load(os.environ)
    return Workers([url.rstrip("/") for url in urls] or [default_url(settings)], settings.api_token)
