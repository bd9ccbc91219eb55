"""Plots are legible on light and on dark pages."""

import re
from pathlib import Path

import pytest

from benchmarks.theme import COLOURS, themed

DOCS = Path(__file__).parents[2] / "docs"


def test_colours_become_variables_with_a_second_value_for_dark_pages() -> None:
    drawn = '<svg width="1">\n<text style="font: 11px \'Some Sans\', serif; fill: #1f2328">#</text></svg>'
    text = themed(drawn)
    style, rest = text.partition("</style>")[::2]
    assert "fill: var(--ink)" in rest
    assert "font: 11px system-ui, sans-serif;" in rest
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    for name, (on_light, on_dark) in COLOURS.items():
        assert f"--{name}: {on_light};" in light
        assert f"--{name}: {on_dark};" in dark


@pytest.mark.parametrize("name", ["cpu", "latency", "pauses"])
def test_the_plots_use_no_other_colours(name: str) -> None:
    style, rest = (DOCS / f"{name}.svg").read_text().partition("</style>")[::2]
    assert "prefers-color-scheme: dark" in style
    used = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", rest))
    assert {each for each in used if each != "none" and not each.startswith("var(--")} == set()
