"""`telefonie replay`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from streams.calls.times import instant
from streams.cli.options import Duration
from streams.cli.terminal import progress, say
from streams.printable import printable
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.operations.replay import Comparison, Destination, Difference, Done, Range, Span

#: How many differences are shown to people; --json shows all.
_SHOWN = 20


class _BoundType(click.ParamType):
    name = "offset or time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from streams.operations.replay import bound

        try:
            return bound(value)
        except ValueError:
            self.fail(f"{value!r} is neither an offset nor a time such as 2026-11-01T00:00:00Z", param, ctx)


@click.command()
@click.option(
    "--from", "start", type=_BoundType(), help="Begin at this offset in each partition, or at this time."
)
@click.option(
    "--to", "end", type=_BoundType(), help="End before this offset or time. [default: the current end]"
)
@click.option(
    "--warm-up",
    type=Duration(),
    help="If --from is a time: start reading this long before it, without output, to know the calls that "
    "were in progress.  [default: CALL_TIMEOUT + CALL_RETENTION + 2 MAX_CLOCK_SKEW]",
)
@click.option(
    "--partition",
    "partitions",
    type=click.IntRange(0),
    multiple=True,
    help="Only this partition; repeatable.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write completed calls and KPI windows to this file, one JSON line per record.",
)
@click.option(
    "--completed-topic", help="Write completed calls to this topic, which must not be one of the worker's."
)
@click.option("--kpis-topic", help="Write KPI windows to this topic.")
@click.option(
    "--compare",
    is_flag=True,
    help="Compare with the topics of completed calls and KPI windows.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every difference and the result as JSON lines.")
def replay(
    start: Any,
    end: Any,
    warm_up: int | None,
    partitions: tuple[int, ...],
    output: Path | None,
    completed_topic: str | None,
    kpis_topic: str | None,
    compare: bool,
    as_json: bool,
) -> None:
    """Recompute the completed calls and KPI windows of a range of the log.

    Neither the consumer group nor its state is touched, and the same log gives the same bytes. A time means the first
    record stamped at or after it. Calls that began before the range are known as far as the warm-up reaches back.
    Records that the dead letters name as too early are left out, as they were then.

    With --compare, every call, revision and KPI window that is missing, differing or extra in the output topics is
    named. Calls that may have events before the log that was read are not compared, but counted as incomparable. The
    exit code is 1 if anything differs, if nothing could be compared, or if the log does not cover the requested range;
    what it covers is printed for each partition. The comparison needs about 120 bytes in the directory for temporary
    files (TMPDIR) for each revision and window on either side.

    \b
    Example:
      telefonie replay --compare
      telefonie replay --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --compare --output november.jsonl
    """
    targets = {"completed": completed_topic, "kpis": kpis_topic}
    topics = {kind: name for kind, name in targets.items() if name is not None}
    if not (output or topics or compare):
        raise click.UsageError("nothing to do: pass --output, --completed-topic, --kpis-topic or --compare")
    if warm_up is not None and (start is None or start[0] != "time"):
        raise click.UsageError("--warm-up needs a time as --from")
    from streams import logs
    from streams.operations.replay import Range

    settings = Settings.load(os.environ)
    logs.configure(settings)
    if warm_up is None:
        warm_up = settings.call_timeout + settings.call_retention + 2 * settings.max_clock_skew
    if not _run(settings, Range(start, end, partitions, warm_up), output, topics, compare, as_json):
        raise SystemExit(1)


def _run(
    settings: Settings,
    wanted: Range,
    output: Path | None,
    topics: dict[str, str],
    compare: bool,
    as_json: bool,
) -> bool:
    """Replay and report; False when the comparison, if there is one, does not hold."""
    from streams.operations.replay import Comparison

    begun = time.monotonic()
    differences: list[Difference] = []
    comparison = Comparison(settings, _write if as_json else _few(differences)) if compare else None
    done = asyncio.run(_replay(settings, wanted, output, topics, comparison))
    result = {**msgspec.to_builtins(done), "seconds": round(time.monotonic() - begun, 3)}
    if as_json:
        _write(result | ({"comparison": comparison.counts} if comparison else {}))
    else:
        _report(done, result["seconds"])
        if comparison:
            _report_comparison(comparison, differences)
    return not comparison or (done.is_covered and not comparison.differences and not comparison.is_empty)


def _write(found: Any) -> None:
    click.echo(msgspec.json.encode(found))


def _few(differences: list[Difference]) -> Callable[[Difference], None]:
    """Remembers the first differences."""
    return lambda each: differences.append(each) if len(differences) < _SHOWN else None


async def _replay(
    settings: Settings,
    wanted: Range,
    path: Path | None,
    topics: dict[str, str],
    comparison: Comparison | None,
) -> Done:
    from streams.kafka import reading
    from streams.kafka.connecting import connected
    from streams.operations.replay import FileDestination, TopicsDestination, replay, require

    async with AsyncExitStack() as stack:
        consumer = await stack.enter_async_context(reading.reader(settings))
        await require(consumer, settings, topics.values())
        outputs: list[Destination] = []
        if topics:
            producer = await stack.enter_async_context(
                connected(TopicsDestination.producer(settings), settings)
            )
            outputs.append(TopicsDestination(producer, topics))
        if path is not None:
            names = {"completed": settings.completed_topic, "kpis": settings.kpis_topic}
            outputs.append(FileDestination(stack.enter_context(_opened(path)), names))
        shown = stack.enter_context(progress("replay"))
        return await replay(settings, consumer, wanted, outputs, comparison, shown)


def _opened(path: Path) -> Any:
    try:
        return path.open("wb")
    except OSError as error:
        raise click.UsageError(f"--output {path}: {error.strerror}") from None


def _report(done: Done, seconds: float) -> None:
    for span in done.spans:
        warm_up = f" (read from {span.warm_up} on)" if span.warm_up < span.start else ""
        say(f"partition {span.partition}: offsets {span.start} to {span.end}{warm_up}{_times(span)}")
        if span.hidden:
            say(f"  {span.hidden} offsets after these are hidden by a transaction that is still open")
        for each in span.lacking:
            click.echo(f"{click.style('not covered:', fg='red')} {each}")
    say(
        f"read {done.read}, applied {done.applied}, rejected {sum(done.rejected.values())}, published "
        f"{done.completed} completed calls and {done.kpis} KPI windows in {seconds:.1f} s"
    )


def _times(span: Span) -> str:
    if span.first_time is None or span.last_time is None:
        return ", no records"
    return f", stamped {instant(span.first_time)} to {instant(span.last_time)}"


def _report_comparison(comparison: Comparison, differences: Sequence[Difference]) -> None:
    for name, counts in comparison.counts.items():
        say(f"{name:<10}" + ", ".join(f"{verdict} {n}" for verdict, n in counts.items()))
    for each in differences:
        what = each.window if each.id is None else each.id
        revision = "" if each.revision is None else f" revision {each.revision}"
        place = f"(partition {each.partition})"
        click.echo(f"{click.style(each.verdict, fg='red')} {printable(f'{what}{revision} {place}')}")
    if (more := comparison.differences - len(differences)) > 0:
        say(f"and {more} more: --json names all")
    if comparison.is_empty:
        click.echo(
            "nothing could be compared: every call may have events before the log that was read. Read "
            "from further back, or retain the log for longer"
        )
