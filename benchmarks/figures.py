"""Takes all figures of docs/performance.md, one part after the other, on a machine that does nothing else.

    python -m benchmarks.figures [--checkout released=FOLDER] [--only latency,pauses-8] [--minutes 25]

Each part is a benchmark with its own file in `benchmarks/results`; `make plots` then draws them. A part that does not
fit into the time is given up and named; what it has measured by then is kept.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Final, NamedTuple

import click

from benchmarks.contestants import with_checkouts
from benchmarks.worker import ROOT


class Part(NamedTuple):
    """A benchmark with its options, and whether other checkouts take part in it."""

    module: str
    options: str
    has_checkouts: bool = True


_END_SECONDS = 60.0
PARTS: Final = {
    "compare": Part(
        "compare",
        "--calls 150000 --slow-calls 100 --rounds 3 --only worker,kafka_streams,confluent_loop,aiokafka_loop",
    ),
    "latency": Part("latency", "--partitions 4,16,64,128,256 --warm 25 --seconds 8"),
    "pauses-8": Part("pauses", "--partitions 8 --only worker,kafka_streams,kafka_streams_standby"),
    "pauses-64": Part("pauses", "--partitions 64 --only worker,kafka_streams", has_checkouts=False),
    "latency-busy": Part(
        "latency",
        "--rate 10000 --warm 8 --seconds 10 --only worker"
        " --variants exactly_once:100,exactly_once:25,at_least_once:25",
        has_checkouts=False,
    ),
    "pauses-tls": Part("pauses", "--partitions 8 --tls --only worker,kafka_streams", has_checkouts=False),
    "pauses-2m": Part(
        "pauses", "--partitions 8 --calls 2000000 --only worker,kafka_streams", has_checkouts=False
    ),
}
"""By the name of its results, in the order in which they are taken: what matters most comes first."""


def run(name: str, checkouts: tuple[str, ...], seconds: float) -> str:
    """Measure one part within this many seconds; returns how it went."""
    part = PARTS[name]
    given = [f"--checkout={each}" for each in checkouts if part.has_checkouts]
    command = [
        sys.executable,
        "-m",
        f"benchmarks.{part.module}",
        *part.options.split(),
        *given,
        "--record",
        name,
    ]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            return "done" if process.wait(seconds) == 0 else "FAILED"
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # it ends its own processes then
            process.wait(_END_SECONDS)
            return "given up"
        finally:
            process.kill()


@click.command()
@click.option("--only", help=f"Parts, separated by commas.  [default: {','.join(PARTS)}]")
@click.option("--minutes", default=25.0, show_default=True, help="How long all of it may take.")
@with_checkouts
def main(only: str | None, minutes: float, checkouts: tuple[str, ...]) -> None:
    """Take the figures."""
    end = time.monotonic() + minutes * 60
    for name in only.split(",") if only else PARTS:
        begun = time.monotonic()
        how = run(name, checkouts, end - begun) if begun < end else "left out"
        click.echo(f"{name}: {how} after {time.monotonic() - begun:.0f} s", err=True)


if __name__ == "__main__":
    main()
