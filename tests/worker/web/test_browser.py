"""The live page in a real browser: what it shows, how it recovers, and that everybody can use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.pages import PHONE, MadeUpWorker, Site, site, watched

pytestmark = pytest.mark.browser
PATIENCE = 30_000  # ms
STATE = "#state:text-is('{}')"
OVERFLOWING = """() => [...document.querySelectorAll(".figure")]
    .filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.textContent)"""
NUMBERS = (
    "() => [...document.querySelectorAll('#partitions tbody tr')].map((row) => row.cells[0].textContent)"
)


@pytest.fixture(scope="module")
def served() -> Iterator[Site]:
    with site() as made:
        yield made


@contextmanager
def opened(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    """The page, once it shows figures; `complaints` are its errors, and what it has asked of others."""
    with watched(browser, url, "/", console=True, **options) as page:
        page.wait_for_selector(STATE.format("Processing"), timeout=PATIENCE)
        page.wait_for_selector("#rate:not(:text-is('–'))", timeout=PATIENCE)
        yield page


def test_it_shows_the_figures_and_they_move(browser: Any, served: Site) -> None:
    with opened(browser, served.url) as page:
        assert page.inner_text("#group") == "telefonie-calls"
        assert page.evaluate(NUMBERS) == ["0", "1", "2", "3"]
        assert abs(int(page.inner_text("#rate")) - 160) < 60
        assert page.inner_text("#asr").endswith(" %")
        assert page.locator("#asr-chart rect").count() == 15
        assert page.locator("#dead tr").count() == 4
        assert page.locator("#longest a").first.get_attribute("href").startswith("/calls/0b6f1c1e")
        read = page.inner_text("#totals")
        page.wait_for_selector(f"#totals:not(:text-is('{read}'))")
        page.click("h2 >> text=Open calls")
        assert page.locator("#help-open").is_visible()
        assert PHONE not in page.content()
        assert page.complaints == []


def test_it_says_which_time_its_counts_cover(browser: Any) -> None:
    with site() as made, opened(browser, made.url) as page:
        page.wait_for_selector("#rejected small", timeout=PATIENCE)
        seconds = int(page.inner_text("#rejected small").removeprefix("in ").removesuffix(" s"))
        assert 1 <= seconds < 60
        assert page.inner_text("#rate-note").startswith("the last ")
        assert "two minutes" not in page.inner_text(".tiles >> nth=0")
        page.wait_for_selector(f"#rejected small:text-is('in {seconds + 2} s')", timeout=PATIENCE)


@pytest.mark.parametrize(
    ("scheme", "size"), [("light", (1280, 900)), ("dark", (360, 740))], ids=["light-desk", "dark-phone"]
)
def test_it_fits_and_axe_finds_nothing(
    browser: Any, served: Site, scheme: str, size: tuple[int, int]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with opened(
        browser, served.url, color_scheme=scheme, viewport={"width": size[0], "height": size[1]}
    ) as page:
        page.click("summary")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert page.evaluate(OVERFLOWING) == []
        luminance = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
        )
        assert (luminance < 60) == (scheme == "dark")
        found = axe.run(page).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []


def test_it_says_so_when_the_worker_is_gone_and_goes_on_when_it_is_back(browser: Any) -> None:
    with site() as made:
        with opened(browser, made.url) as page:
            made.stop()
            page.wait_for_selector(STATE.format("No connection"), timeout=PATIENCE)
            assert "does not answer" in page.inner_text("#banner")
            made.start()
            page.wait_for_selector(STATE.format("Processing"), timeout=PATIENCE)
            assert page.is_hidden("#banner")


def test_it_tells_of_recovery_and_of_partitions_without_a_worker(browser: Any) -> None:
    worker = MadeUpWorker()
    with site(worker) as made:
        with opened(browser, made.url) as page:
            worker.restoring, worker.partitions = {1: 9_000}, [0, 1]
            worker.reasons = ["restoring the state of partitions [1]: 9000 records are left"]
            page.wait_for_selector(STATE.format("Recovering"), timeout=PATIENCE)
            worker.restoring = {1: 3_000}
            page.wait_for_selector("#partitions progress[value='0.667']", timeout=PATIENCE)
            assert "3,000 records" in page.inner_text("#banner")
            assert page.locator("#partitions >> text=no worker").count() == 2
            worker.restoring, worker.reasons, worker.partitions = {}, [], [0, 1, 2, 3]
            page.wait_for_selector(STATE.format("Processing"), timeout=PATIENCE)


def test_ids_are_shown_with_the_token_only(browser: Any) -> None:
    with site(api_token="right") as made:
        with opened(browser, made.url) as page:
            assert page.locator("#longest tr").count() == 0
            page.fill("#token-value", "wrong")
            page.click("#token button")
            page.wait_for_selector("text=does not know that token", timeout=PATIENCE)
            page.fill("#token-value", "right")
            page.click("#token button")
            page.wait_for_selector("#longest tr", timeout=PATIENCE)
            assert page.is_hidden("#token")
            page.reload()
            page.wait_for_selector("#longest tr", timeout=PATIENCE)
