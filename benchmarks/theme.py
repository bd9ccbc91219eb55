"""Colours of the plots, for light and for dark pages in one file."""

from __future__ import annotations

import re
from typing import Final

COLOURS: Final = {
    "ink": ("#1f2328", "#f0f6fc"),
    "faint": ("#d1d9e0", "#3d444d"),
    "ours": ("#0969da", "#4493f8"),
    "streams": ("#bc4c00", "#f0883e"),
    "standby": ("#8250df", "#ab7df8"),
    "other": ("#59636e", "#9198a1"),
}
"""Name of a CSS variable -> its colour on a light page, and on a dark one."""


def themed(text: str) -> str:
    """An SVG with CSS variables in place of the light colours, which have a value for either kind of page."""
    for name, (light, _) in COLOURS.items():
        text = text.replace(light, f"var(--{name})")
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", text)
    light, dark = (
        "".join(f"--{name}: {pair[kind]}; " for name, pair in COLOURS.items()).strip() for kind in (0, 1)
    )
    style = f"<style>svg {{ {light} }} @media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}</style>"
    text = re.sub(r"(<svg [^>]*>)", rf"\1\n {style}", text, count=1)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())
