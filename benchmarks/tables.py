"""The tables of docs/performance.md, from what was kept in `benchmarks/results`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks.results import FOLDER, Rows, rows_of, taken
from benchmarks.targets import targets

Line: TypeAlias = tuple[str, Callable[[str], str]]
"""A row of a table: what it says, and the cell for a contestant; empty where nothing was measured."""


def titles(*results: Rows) -> list[str]:
    """The contestants, in the order in which they come."""
    return list(dict.fromkeys(row["contestant"] for rows in results for row in rows))


def found(rows: Rows, title: str, form: str, **wanted: Any) -> str:
    """A cell: the row of a contestant with these values, by a format of its columns."""
    for row in rows:
        if row["contestant"] == title and all(row[name] == value for name, value in wanted.items()):
            return form.format_map(row) if "None" not in form.format_map(row) else ""
    return ""


def line(about: str, rows: Rows, form: str, **wanted: Any) -> Line:
    """A row whose cells are taken from the results of one benchmark."""
    return about, lambda title: found(rows, title, form, **wanted)


def lines_of_latency(rows: Rows) -> list[Line]:
    """The smallest number of partitions, one in the middle, and the greatest."""
    counts = sorted({row["partitions"] for row in rows})
    chosen = sorted({counts[0], counts[len(counts) // 2], counts[-1]})
    told = [
        line(f"latency p50 / p99, {number} partitions, ms", rows, "{p50_ms} / {p99_ms}", partitions=number)
        for number in chosen
    ]
    most = f"with {counts[-1]} partitions"
    told.append(
        line(
            f"cores of the worker / of the broker, {most}",
            rows,
            "{own_cores} / {broker_cores}",
            partitions=counts[-1],
        )
    )
    told.append(line(f"TCP connections to the broker, {most}", rows, "{connections}", partitions=counts[-1]))
    return told


_EVENTS: Final = {
    "join": "a worker joins",
    "leave": "one leaves",
    "kill": "one is killed",
    "roll": "all are restarted",
}


def lines_of_pauses(rows: Rows) -> list[Line]:
    """For each number of partitions, what happens and the silence of those that stay and of those that move."""
    told = []
    for number in sorted({row["partitions"] for row in rows}):
        for event, about in _EVENTS.items():
            wanted = {"partitions": number, "event": event}
            for kind, which in (("stayed", "stay"), ("moved", "move")):
                if any(row[kind] for row in rows if row.items() >= wanted.items()):
                    label = f"{about}, {number} partitions: those that {which}, s"
                    told.append(line(label, rows, f"{{{kind}_median}} / {{{kind}_worst}}", **wanted))
    return told


def table(head: str, names: list[str], lines: list[Line]) -> str:
    """Markdown: a column for each contestant."""
    rows = [
        [head, *names],
        ["---"] * (1 + len(names)),
        *([about, *map(cell, names)] for about, cell in lines),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def summary(folder: Path) -> str:
    """Ours beside the others."""
    compare, latency = (rows_of([name], folder) for name in ("compare", "latency"))
    pauses = rows_of(["pauses-8", "pauses-64"], folder)
    exactly = {"guarantee": "exactly_once"}
    cost = [
        line("CPU-seconds for a million events", compare, "{cpu_seconds_per_million}", **exactly),
        line("the same, warmed up", compare, "{second_half}", **exactly),
        line("the broker's meanwhile", compare, "{brokers_cpu}", **exactly),
        line("events/s at full speed", compare, "{events_per_second:,}", **exactly),
        line("memory, MiB", compare, "{rss_mib:,}", **exactly),
    ]
    names = titles(latency, pauses, compare)
    others = max(row["others_cores"] for row in compare + latency)
    return (
        table("exactly once", names, [*cost, *lines_of_latency(latency), *lines_of_pauses(pauses)])
        + f"\n\nTaken on {taken('latency', folder)}, of which other processes used up to {others}."
    )


def busy(folder: Path) -> str:
    """The latency at a high rate, for each guarantee and time between commits."""
    rows = rows_of(["latency-busy"], folder)
    variants = dict.fromkeys((row["guarantee"], row["commit_ms"]) for row in rows)
    lines = [
        line(
            f"{guarantee}, commits each {commit} ms",
            rows,
            "{p50_ms} / {p99_ms} ms, {own_cores} cores",
            guarantee=guarantee,
            commit_ms=commit,
        )
        for guarantee, commit in variants
    ]
    return table("p50 / p99", titles(rows), lines)


def pauses(name: str) -> Callable[[Path], str]:
    """Of one result: the silence of partitions when workers come and go."""

    def made(folder: Path) -> str:
        rows = rows_of([name], folder)
        return table("median / worst", titles(rows), lines_of_pauses(rows))

    return made


def wanted(folder: Path) -> str:
    """The targets, and whether they are reached."""
    rows = [
        f"| {each.wanted} | {each.measured} | {'yes' if each.reached else '**no**'} |"
        for each in targets(folder)
    ]
    return "\n".join(["| wanted | measured | reached |", "| --- | --- | --- |", *rows])


TABLES: Final[dict[str, Callable[[Path], str]]] = {
    "summary": summary,
    "busy": busy,
    "secured": pauses("pauses-tls"),
    "remembered": pauses("pauses-2m"),
    "targets": wanted,
}


def fill(text: str, folder: Path = FOLDER) -> str:
    """The page with each table, between its comments, written again; as it was where results are missing."""
    for name, made in TABLES.items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if end:
            try:
                text = f"{before}{begin}{made(folder)}\n{end}{after}"
            except FileNotFoundError as missing:
                print(f"without the table {name}: there is no {missing.filename}")
    return text
