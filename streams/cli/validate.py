"""`telefonie validate`: one verdict a line for JSON lines."""

import os
import sys
from typing import BinaryIO, Literal

import click
import msgspec

from streams.codecs import CallDecoder, Rejected
from streams.printable import printable
from streams.settings import Settings


class Verdict(msgspec.Struct):
    """What is to be said about one line, counted from 1; `reason` and `message` only where it is invalid."""

    line: int
    valid: bool
    reason: str | None = None
    path: str | None = None
    message: str | None = None


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--nulls",
    type=click.Choice(["reject", "absent"]),
    help="What a null property counts as.  [default: the setting NULLS]",
)
def validate(file: BinaryIO, as_json: bool, nulls: Literal["reject", "absent"] | None) -> None:
    """Say of every line of FILE (or stdin) whether it is a valid Call, as the worker would.

    Exits 1 when any line is invalid. An empty line is an invalid one, as an empty record is.

    \b
    Example:
      telefonie validate calls.jsonl
      kafka-console-consumer.sh --topic telefonie.calls … | telefonie validate --json
    """
    decoder = CallDecoder(nulls or Settings.load(os.environ).nulls)
    lines = invalid = 0
    for lines, line in enumerate(file, 1):
        verdict = _judge(decoder, lines, line.removesuffix(b"\n").removesuffix(b"\r"))
        invalid += not verdict.valid
        sys.stdout.write(_as_json(verdict) if as_json else _as_text(verdict))
    sys.stdout.flush()
    click.echo(f"{lines} lines, {invalid} invalid", err=True)
    if invalid:
        raise SystemExit(1)


def _judge(decoder: CallDecoder, number: int, value: bytes) -> Verdict:
    try:
        decoder.decode(value, ())
    except Rejected as rejected:
        return Verdict(number, False, rejected.reason, rejected.path, rejected.message)
    return Verdict(number, True)


def _as_json(verdict: Verdict) -> str:
    return msgspec.json.encode(verdict).decode() + "\n"


def _as_text(verdict: Verdict) -> str:
    if verdict.valid:
        return f"{verdict.line}: valid\n"
    at = f" at {verdict.path}" if verdict.path else ""
    return printable(f"{verdict.line}: {verdict.reason}{at}: {verdict.message}") + "\n"
