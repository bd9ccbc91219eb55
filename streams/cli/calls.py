"""`telefonie calls get` and `calls open`: answers from the workers."""

import os
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import click
import msgspec

from streams.cli.asking import Workers
from streams.cli.options import Duration, country_option, json_option
from streams.cli.terminal import fields, table, text
from streams.codecs import STATUSES
from streams.errors import OperatorError
from streams.settings import Settings, approximate_duration

_url_option = click.option(
    "--url",
    "urls",
    multiple=True,
    metavar="URL",
    help="URL of any worker of the group; repeatable: the others are asked if it does not answer.  "
    "[default: from HTTP_BIND and HTTP_PORT, otherwise from the group at BROKERS]",
)


@click.group()
def calls() -> None:
    """Show calls that the workers hold: open ones, and closed ones that are still remembered.

    Any worker answers for all of them. The token in the setting API_TOKEN is sent along, if there is one; without a
    token, a worker answers only clients on its own machine.

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

    Exits 1 if there is no such call. A call that closed longer ago than CALL_RETENTION is forgotten:
    `telefonie completed get` finds what was published for it.

    \b
    Example:
      telefonie calls get 0b6f1c1e-8f2e-4d0b-9a41-3d5c3f0f4d77
      telefonie calls get 42 --url http://worker-0.example.com:6066 --json | jq .timeline
    """
    status, document = _workers(urls).ask(f"/calls/{quote(os.fsencode(call_id), safe='')}")
    if status == 404:
        raise OperatorError(
            "no such call is open or still remembered; `telefonie completed get` finds what was published"
        )
    _show(document, as_json)


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
    help="Only calls with this status; repeatable.",
)
@country_option
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="How many calls to list, oldest first.",
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
    """List open calls, longest open first.

    The table shows no phone numbers; --json prints whole calls. Exits 1 if a worker did not answer: its calls are
    missing then.

    \b
    Example:
      telefonie calls open --older-than 1h --status in-progress
      telefonie calls open --country DE --json | jq -r .id
    """
    query = [("limit", str(limit)), *(("status", each) for each in statuses)]
    query += [("country", each) for each in countries]
    if older_than is not None:
        query.append(("older_than", f"{older_than}ms"))
    _, document = _workers(urls).ask("/calls", query)
    oldest = document["calls"]
    if as_json:
        for call in oldest:
            click.echo(msgspec.json.encode(call))
    else:
        table(("id", "status", "open for", "last event", "from", "to", "closes at"), _rows(oldest))
    if len(oldest) < document["total"]:
        click.echo(f"the oldest {len(oldest)} of {document['total']:,}", err=True)
    if document.get("problems"):
        raise OperatorError(
            f"these are the calls of the partitions {document['partitions']} only: {'; '.join(document['problems'])}"
        )


def _rows(found: Iterable[dict[str, Any]]) -> Iterable[Sequence[str]]:
    now = time.time()
    for call in found:
        yield (
            call["id"],
            call["status"],
            approximate_duration(now - datetime.fromisoformat(call["opened_at"]).timestamp()),
            call["last_event_at"],
            text(call.get("from_country")),
            text(call.get("to_country")),
            call["due_at"],
        )


def _workers(urls: tuple[str, ...]) -> Workers:
    return Workers(Settings.load(os.environ), urls)
