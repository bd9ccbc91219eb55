"""docs/performance.md and its plots match the stored results."""

from pathlib import Path

import pytest

from benchmarks.results import rows_of
from benchmarks.tables import TABLES, fill

DOCS = Path(__file__).parents[2] / "docs"


def test_the_tables_are_those_of_the_results() -> None:
    page = (DOCS / "performance.md").read_text()
    assert all(f"<!-- {name} -->\n" in page for name in TABLES)
    assert page == fill(page), "run: make plots"


@pytest.mark.parametrize("name", ["cpu", "latency", "pauses"])
def test_the_plots_are_those_of_the_results(name: str) -> None:
    pytest.importorskip("matplotlib", reason="only make plots installs matplotlib")
    from benchmarks.plots import PLOTS, svg

    draw, sources, size, title = PLOTS[name]
    assert (DOCS / f"{name}.svg").read_text() == svg(draw, rows_of(sources), size, title), "run: make plots"
