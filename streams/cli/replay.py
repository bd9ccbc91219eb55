"""`telefonie replay`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from streams.settings import Settings, milliseconds

if TYPE_CHECKING:
    from streams.replay import Comparison, Done, Output, Range

#: Differences that are shown to people; --json shows all.
_SHOWN = 20


class _BoundType(click.ParamType):
    name = "offset or time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from streams.replay import bound

        try:
            return bound(value)
        except ValueError:
            self.fail(f"{value!r} is neither an offset nor a time such as 2026-11-01T00:00:00Z", param, ctx)


class _DurationType(click.ParamType):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return milliseconds(value)
        except ValueError:
            self.fail(f"{value!r} is no duration such as 90s or 30h", param, ctx)


@click.command()
@click.option(
    "--from", "start", type=_BoundType(), help="Begin at this offset of each partition, or this time."
)
@click.option(
    "--to", "end", type=_BoundType(), help="End before this offset or time.  [default: the present end]"
)
@click.option(
    "--warm-up",
    type=_DurationType(),
    help="With a time: read from so long before it, without output, to know the calls that were under way.  "
    "[default: CALL_TIMEOUT + CALL_RETENTION]",
)
@click.option(
    "--partition", "partitions", type=click.IntRange(0), multiple=True, help="Only this one; repeatable."
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write completed calls and KPI windows to this file, one JSON line a record.",
)
@click.option("--completed-topic", help="Write completed calls to this topic, not one of the worker's.")
@click.option("--kpis-topic", help="Write KPI windows to this topic.")
@click.option("--compare", is_flag=True, help="Compare with what the topic of completed calls holds.")
@click.option("--json", "as_json", is_flag=True, help="Every difference and the result as JSON lines.")
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
    """Compute the completed calls and KPI windows of a part of the log once more.

    Neither the consumer group nor its state is touched, and the same log gives the same bytes. With --compare, what
    is missing, differing or extra in the topic of completed calls is named, and the exit code is 1 if anything is.

    A time means the first record stamped at or after it. Calls of which a part lies before the range are known as far
    as the warm-up reaches back. Records that the dead letters name as too early are left out as they were then.

    \b
    Example:
      telefonie replay --compare
      telefonie replay --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --compare --output november.jsonl
    """
    targets = {"completed": completed_topic, "kpis": kpis_topic}
    topics = {kind: name for kind, name in targets.items() if name is not None}
    if not (output or topics or compare):
        raise click.UsageError("nothing to do: give --output, --completed-topic, --kpis-topic or --compare")
    is_time = start is not None and start[0] == "time"
    if warm_up is not None and not is_time:
        raise click.UsageError("--warm-up needs a time as --from")
    from streams import logs
    from streams.replay import Comparison, Range

    settings = Settings.load(os.environ)
    logs.configure(settings)
    if warm_up is None:
        warm_up = settings.call_timeout + settings.call_retention
    begun = time.monotonic()
    comparison = Comparison() if compare else None
    wanted = Range(start, end, partitions, warm_up)
    done = asyncio.run(_replay(settings, wanted, output, topics, comparison))
    _report(done, comparison, time.monotonic() - begun, as_json)
    if comparison is not None and not comparison.is_equal:
        raise SystemExit(1)


async def _replay(
    settings: Settings,
    wanted: Range,
    path: Path | None,
    topics: dict[str, str],
    comparison: Comparison | None,
) -> Done:
    from streams import reading
    from streams.brokers import connected
    from streams.replay import File, Topics, replay, require

    async with AsyncExitStack() as stack:
        consumer = await stack.enter_async_context(reading.reader(settings))
        await require(consumer, settings, topics.values())
        outputs: list[Output] = []
        if topics:
            producer = await stack.enter_async_context(connected(Topics.producer(settings), settings))
            outputs.append(Topics(producer, topics))
        if path is not None:
            names = {"completed": settings.completed_topic, "kpis": settings.kpis_topic}
            outputs.append(File(stack.enter_context(_opened(path)), names))
        progress = stack.enter_context(_progress())
        return await replay(settings, consumer, wanted, outputs, comparison, progress)


def _opened(path: Path) -> Any:
    try:
        return path.open("wb")
    except OSError as error:
        raise click.UsageError(f"--output {path}: {error.strerror}") from None


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Shows on a terminal how much of the log has been read."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("replay", total=None)
        yield lambda read, total: bar.update(task, completed=read, total=total)


def _report(done: Done, comparison: Comparison | None, seconds: float, as_json: bool) -> None:
    if as_json:
        for each in comparison.differences if comparison else ():
            click.echo(msgspec.json.encode(each))
        result: dict[str, Any] = {**msgspec.to_builtins(done), "seconds": round(seconds, 3)}
        if comparison:
            result["comparison"] = {"calls": comparison.calls, "revisions": comparison.revisions}
        click.echo(msgspec.json.encode(result))
        return
    for span in done.spans:
        warm_up = f" (read from {span.warm_up} on)" if span.warm_up < span.start else ""
        click.echo(f"partition {span.partition}: offsets {span.start} to {span.end}{warm_up}")
    click.echo(
        f"read {done.read}, applied {done.applied}, rejected {sum(done.rejected.values())}, published "
        f"{done.completed} completed calls and {done.kpis} KPI windows in {seconds:.1f} s"
    )
    if comparison:
        _report_comparison(comparison)


def _report_comparison(comparison: Comparison) -> None:
    for name, counts in (("calls", comparison.calls), ("revisions", comparison.revisions)):
        click.echo(f"{name:<10}" + ", ".join(f"{verdict} {n}" for verdict, n in counts.items()))
    for each in comparison.differences[:_SHOWN]:
        revision = "" if each.revision is None else f" revision {each.revision}"
        click.echo(f"{click.style(each.verdict, fg='red')} {each.id}{revision} (partition {each.partition})")
    if (more := len(comparison.differences) - _SHOWN) > 0:
        click.echo(f"and {more} more: --json names all")
