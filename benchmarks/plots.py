"""Draws the plots of docs/performance.md from what was kept in `benchmarks/results`, and fills in its tables.

    make plots

It needs the packages of `requirements-plots.lock`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.contestants import CONTESTANTS, OURS
from benchmarks.results import Rows, rows_of
from benchmarks.tables import fill, titles
from benchmarks.theme import COLOURS, themed
from benchmarks.worker import ROOT

DOCS: Final = ROOT / "docs"
INK, FAINT, OWN, STREAMS, STANDBY, OTHER = (light for light, _ in COLOURS.values())
EVENTS: Final = ("join", "leave", "kill", "roll")
_STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "telefonie",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


def colour(title: str) -> str:
    """That of a contestant."""
    if title == CONTESTANTS[OURS].title:
        return OWN
    if "standby" in title:
        return STANDBY
    return STREAMS if "Streams" in title and "Quix" not in title else OTHER


def cpu(figure: Figure, rows: Rows) -> None:
    """What a million events cost once the contestant is warm, exactly once: one bar for each."""
    axes = figure.subplots()
    known = {
        each.title for each in CONTESTANTS.values()
    }  # the worker of another checkout is in the table only
    shown = sorted(
        (row for row in rows if row["guarantee"] == "exactly_once" and row["contestant"] in known),
        key=lambda row: float(row["second_half"]),
        reverse=True,
    )
    costs = [row["second_half"] for row in shown]
    names = [row["contestant"] for row in shown]
    bars = axes.barh(names, costs, 0.62, color=[colour(name) for name in names])
    axes.bar_label(bars, [f"{cost:.1f}" for cost in costs], padding=4)
    axes.set_xlabel("CPU-seconds for a million events, exactly once, warmed up; less is better")
    axes.grid(visible=True, axis="x")
    axes.margins(x=0.1)


def latency(figure: Figure, rows: Rows) -> None:
    """p99 (solid) and p50 (dashed) over the number of partitions: one pair of lines for each contestant."""
    axes = figure.subplots()
    counts = sorted({row["partitions"] for row in rows})
    for name in titles(rows):
        own = {row["partitions"]: row for row in rows if row["contestant"] == name}
        for column, style, label in (("p99_ms", "-", f"{name}, p99"), ("p50_ms", "--", f"{name}, p50")):
            at = [number for number in counts if number in own]
            values = [own[number][column] for number in at]
            axes.plot(at, values, style, color=colour(name), marker="o", markersize=4, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(number) for number in counts])
    axes.minorticks_off()
    axes.set_ylim(0)
    axes.set_xlabel("partitions of one worker")
    axes.set_ylabel("ms from event to completed call")
    axes.grid(visible=True, axis="y")
    figure.legend(fontsize=9, ncols=len(titles(rows)), loc="outside upper left")


def pauses(figure: Figure, rows: Rows) -> None:
    """The silence of partitions that move: one group of bars for each event, a panel for each number of partitions."""
    counts = sorted({row["partitions"] for row in rows})
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for axes, number in zip(panels, counts, strict=True):
        _silences(axes, [row for row in rows if row["partitions"] == number])
        axes.set_title(f"{number} partitions", size=11)
    panels[0].set_ylabel("seconds without output:\nmedian (bar) and worst (line)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=9, ncols=len(labels), loc="outside upper left")


def _silences(axes: Axes, rows: Rows) -> None:
    names = titles(rows)
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        own = {row["event"]: silence(row) for row in rows if row["contestant"] == name}
        at = [number + (place - (len(names) - 1) / 2) * width for number in range(len(EVENTS))]
        middle, worst = ([own[event][part] for event in EVENTS] for part in (0, 1))
        axes.bar(at, middle, width * 0.9, color=colour(name), label=name)
        reach = [most - median for median, most in zip(middle, worst, strict=True)]
        axes.errorbar(at, middle, [[0.0] * len(reach), reach], fmt="none", color=INK, elinewidth=1, capsize=2)
        for left, most in zip(at, worst, strict=True):
            axes.annotate(
                f"{most:.1f}", (left, most), (0, 3), textcoords="offset points", ha="center", size=8
            )
    axes.set_xticks(range(len(EVENTS)), ["one joins", "one leaves", "one is killed", "all restart"])
    axes.grid(visible=True, axis="y")


def silence(row: dict[str, Any]) -> tuple[float, float]:
    """Median and worst of the partitions that moved; where none did, of those that stayed."""
    kind = "moved" if row["moved"] else "stayed"
    return row[f"{kind}_median"], row[f"{kind}_worst"]


def svg(draw: Callable[[Figure, Rows], None], rows: Rows, size: tuple[float, float], title: str) -> str:
    """A plot as text, legible on light and on dark pages."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure, rows)
        drawn = io.StringIO()
        figure.savefig(
            drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Title": title}
        )
    return themed(drawn.getvalue())


PLOTS: Final = {
    "cpu": (cpu, ["compare"], (8.0, 2.6), "CPU for a million events, by contestant"),
    "latency": (latency, ["latency"], (8.0, 4.2), "Latency over the number of partitions"),
    "pauses": (
        pauses,
        ["pauses-8", "pauses-64"],
        (10.0, 3.8),
        "How long partitions are silent when workers come and go",
    ),
}
"""File in docs -> what draws it, the results it is drawn from, inches, and its title."""


def main() -> None:
    """Draw everything whose results are kept, and fill in the tables."""
    for name, (draw, sources, size, title) in PLOTS.items():
        try:
            (DOCS / f"{name}.svg").write_text(svg(draw, rows_of(sources), size, title))
        except FileNotFoundError as missing:
            print(f"without {name}.svg: there is no {missing.filename}")
    page = DOCS / "performance.md"
    page.write_text(fill(page.read_text()))


if __name__ == "__main__":
    main()
