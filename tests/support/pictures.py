"""Takes the screenshots in the documents from a running worker: `telefonie run`, for twenty minutes and more.

    python tests/support/pictures.py http://127.0.0.1:6066 ID

ID is that of a closed call, best one with several revisions.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parents[2] / "docs"
PATIENCE = 400_000  # ms
DESK = {"viewport": {"width": 1280, "height": 1000}}
#: Pages that are shown in dark on a desk too.
DARK = ("live-page", "call-page")
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "color_scheme": "dark",
    "device_scale_factor": 1.5,
}


def picture(browser: Any, url: str, shown: str, name: str, options: dict[str, Any]) -> None:
    """The page as it is once something of it is shown."""
    page = browser.new_page(**options)
    page.goto(url)
    page.wait_for_selector(shown, timeout=PATIENCE)
    page.screenshot(path=DOCS / name)
    page.close()


def main(url: str, call_id: str) -> None:
    """All of them: in light on a desk, in dark on a phone, and some in dark on a desk."""
    with urlopen(f"{url}/dead?limit=50&reason=schema") as answer:
        letter = next(each for each in json.load(answer)["letters"] if (each["path"] or "$") != "$")
    pages = {
        "live-page": ("/", "#rate-note:text-is('the last two minutes')"),
        "open-calls": ("/calls", "#calls tbody tr"),
        "call-page": (f"/calls/{quote(call_id, safe='')}", ".revision"),
        "rejected": ("/dead", "#note:has-text('since')"),
        "rejected-record": (f"/dead/{letter['partition']}:{letter['offset']}", "#fault"),
        "kpis": ("/kpis", "#countries tbody tr"),
    }
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        for name, (path, shown) in pages.items():
            picture(browser, url + path, shown, f"{name}.png", DESK)
            picture(browser, url + path, shown, f"{name}-phone.png", PHONE)
            if name in DARK:
                picture(browser, url + path, shown, f"{name}-dark.png", DESK | {"color_scheme": "dark"})
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
