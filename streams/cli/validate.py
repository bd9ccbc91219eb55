"""`telefonie validate`: one verdict per line for JSON lines."""

import os
import sys
from typing import BinaryIO, Literal

import click
import msgspec

from streams.codecs import CallDecoder, Rejected
from streams.printable import printable
from streams.settings import Settings


class LineVerdict(msgspec.Struct):
    """The verdict on one line, counted from 1; `reason` and `message` only if it is invalid."""

    line: int
    valid: bool
    reason: str | None = None
    path: str | None = None
    message: str | None = None


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option(
    "--nulls",
    type=click.Choice(["reject", "absent"]),
    help="How to treat a null property. [default: the setting NULLS]",
)
def validate(file: BinaryIO, as_json: bool, nulls: Literal["reject", "absent"] | None) -> None:
    """Check whether each line of FILE (or stdin) is a valid Call, exactly as the worker does.

    Exits 1 if any line is invalid. An empty line is invalid, as an empty record is.

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


def _judge(decoder: CallDecoder, number: int, value: bytes) -> LineVerdict:
    try:
        decoder.decode(value, ())
    except Rejected as rejected:
        return LineVerdict(number, False, rejected.reason, rejected.path, rejected.message)
    return LineVerdict(number, True)


def _as_json(verdict: LineVerdict) -> str:
    return msgspec.json.encode(verdict).decode() + "\n"


def _as_text(verdict: LineVerdict) -> str:
    if verdict.valid:
        return f"{verdict.line}: valid\n"
    at = f" at {verdict.path}" if verdict.path else ""
    return printable(f"{verdict.line}: {verdict.reason}{at}: {verdict.message}") + "\n"
