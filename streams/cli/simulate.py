"""`telefonie simulate`: simulated calls, sent as they happen."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from secrets import randbelow

import click

from streams import logs
from streams.operations.simulation import LIFESPAN_MS, STANDARD_MIX, Event, Mix, events
from streams.operations.traffic import Sent, send
from streams.settings import Settings

_DENSITY = 50.0


def _share(name: str, meaning: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        f"--{name}",
        type=click.FloatRange(0, 1),
        default=getattr(STANDARD_MIX, name),
        show_default=True,
        help=f"Share of {meaning}.",
    )


@click.command()
@click.option("--calls", type=click.IntRange(1), help="Number of calls. [default: calls until Ctrl-C]")
@click.option(
    "--rate",
    type=click.FloatRange(0),
    default=_DENSITY,
    show_default=True,
    help="Calls per second; 0 sends past calls as fast as possible.",
)
@click.option("--seed", type=int, help="The same seed gives the same calls.  [default: a new one each time]")
@_share("duplicates", "events that are sent twice")
@_share("disorder", "events that arrive after the next one of their call")
@_share("invalid", "events followed by a damaged copy, which is rejected")
@_share("unterminated", "calls that never end")
@click.option(
    "--print", "printed", is_flag=True, help="Write past calls to stdout as JSON lines; needs no Kafka."
)
def simulate(
    calls: int | None,
    rate: float,
    seed: int | None,
    duplicates: float,
    disorder: float,
    invalid: float,
    unterminated: float,
    printed: bool,
) -> None:
    """Send simulated calls to the calls topic, each event when it happens; about four events a call.

    Keys are call ids, record timestamps are event times. Calls last for a while, so the last events are sent some time
    (at most 4 minutes) after the last call has started.

    \b
    Example:
      telefonie simulate --rate 20
      telefonie simulate --calls 100000 --rate 0 --seed 7
      telefonie simulate --calls 100 --print > calls.jsonl
    """
    past = printed or not rate
    if past and calls is None:
        raise click.UsageError("--rate 0 and --print need --calls")
    seed = randbelow(2**31) if seed is None else seed
    density = rate or _DENSITY
    now = time.time_ns() // 1_000_000
    start = now - int((calls or 0) / density * 1000) - LIFESPAN_MS if past else now
    made = events(seed, calls, density, start, Mix(duplicates, disorder, invalid, unterminated))
    if printed:
        _print(made)
        return
    settings = Settings.load(os.environ)
    logs.configure(settings)
    sent = Sent()
    complete = asyncio.run(_send(settings, made, not past, sent))
    what = f"{sent.records:,} records" + (f" of {calls:,} calls" if calls and complete else "")
    click.echo(f"sent {what} to {settings.calls_topic} in {sent.seconds:.1f} s (seed {seed})", err=True)
    if calls and not complete:
        raise SystemExit(130)


def _print(made: Iterator[Event]) -> None:
    for _, _, value in made:
        sys.stdout.buffer.write(value + b"\n")
    sys.stdout.buffer.flush()


async def _send(settings: Settings, made: Iterable[Event], live: bool, sent: Sent) -> bool:
    """Whether all of them were sent: Ctrl-C and SIGTERM end it earlier; what was sent is acknowledged."""
    sending = asyncio.ensure_future(send(settings, made, live=live, sent=sent))
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, sending.cancel)
    try:
        async with _progress(sent):
            await sending
    except asyncio.CancelledError:
        return False
    return True


@asynccontextmanager
async def _progress(sent: Sent) -> AsyncIterator[None]:
    """Shows on a terminal how much has been sent."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status("connecting") as status:

        async def show() -> None:
            while True:
                if sent.seconds:
                    rate = sent.records / sent.seconds
                    status.update(f"{sent.records:,} records sent, {rate:,.0f} a second, Ctrl-C ends it")
                await asyncio.sleep(0.25)

        showing = asyncio.ensure_future(show())
        try:
            yield
        finally:
            showing.cancel()
            with suppress(asyncio.CancelledError):
                await showing
