"""KPIs over HTTP, and their page in a real browser."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.pages import MadeUpWorker, Site, site, watched

from streams.calls.kpis import Kpis, KpiSelection
from streams.calls.money import Charges
from streams.calls.windows import Window
from streams.engine.members import Member

PATIENCE = 15_000  # ms
MINUTE = 60_000


@dataclass
class Holder(MadeUpWorker):
    """Remembers windows of the last hours; `asked` is what for."""

    asked: list[KpiSelection] = field(default_factory=list)

    async def kpis(self, selection: KpiSelection) -> Kpis:
        self.asked.append(selection)
        now = time.time_ns() // 1_000_000 // MINUTE * MINUTE
        charges = Charges()
        charges.move(None, ("EUR", Decimal("0.10")))
        found = Kpis.nothing()
        found.add(
            [
                ((now - 2 * MINUTE, "inbound", "FR"), Window(50, answered=10, talk_ms=600_000, charges=charges)),
                ((now - 9 * MINUTE, "outbound", "DE"), Window(attempts=40, answered=30, busy=10, charges=charges)),
                ((now - 9 * MINUTE, "outbound", "US"), Window(attempts=3, uncharged=2)),
                ((now - 300 * MINUTE, "inbound", "FR"), Window(attempts=7)),
            ],
            selection,
        )  # fmt: skip
        return found


def get(where: Site, query: str = "") -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"{where.url}/kpis{query}", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_workers_add_up_and_whose_windows_are_missing_is_said() -> None:
    one, two = Holder(partitions=[0, 1], member_id="one"), Holder(partitions=[2, 3], member_id="two")
    with site(one) as here, site(two) as there:
        one.group = [Member("one", here.url, [0, 1]), Member("two", there.url, [2, 3])]
        status, found = get(here, "?span=1h&country=fr&country=DE&direction=inbound")
        assert (status, found["partitions"], found["problems"]) == (200, [0, 1, 2, 3], [])
        assert [(row["of"], row["attempts"], row["charges"]) for row in found["countries"]] == [
            ("FR", 100, {"EUR": "0.2"})
        ]
        assert two.asked == one.asked
        assert (found["slot_ms"], found["window_ms"], found["remembered_ms"]) == (
            MINUTE,
            MINUTE,
            24 * 60 * MINUTE,
        )
        assert get(here, "?span=24h")[1]["slot_ms"] == 15 * MINUTE
        assert get(here, "?span=99999d")[1]["partitions"] == [0, 1, 2, 3]
        assert two.asked == one.asked
        two.reasons = ["a rebalance is under way"]
        _, found = get(here)
        assert found["partitions"] == [0, 1]
        assert "a rebalance is under way" in found["problems"][0]
        two.reasons, two.partitions = [], [1, 2, 3]
        assert get(here)[1]["problems"] == ["partitions have moved meanwhile"]
        one.reasons, one.group = ["restoring"], []
        status, problem = get(here)
        assert (status, problem["detail"]) == (503, "restoring")


@pytest.mark.parametrize("query", ["span=soon", "direction=up", "since=1", "span="])
def test_a_query_is_understood_or_refused(query: str) -> None:
    with site(Holder()) as made:
        status, problem = get(made, f"?{query}")
        assert (status, bool(problem["detail"])) == (400, True)


@contextmanager
def opened(browser: Any, query: str = "", **values: Any) -> Iterator[tuple[Any, Site]]:
    """The page; `complaints` are its errors, and what it has asked of others."""
    options = values.pop("options", {})
    with (
        site(values.pop("holder", None) or Holder(), **values) as made,
        watched(browser, made.url, f"/kpis{query}", **options) as page,
    ):
        yield page, made


@pytest.mark.browser
def test_the_page_shows_ratios_charges_and_the_worst_destinations(browser: Any, tmp_path: Path) -> None:
    with opened(browser) as (page, made):
        page.wait_for_selector("#attempts:text-is('93')", timeout=PATIENCE)
        assert (page.inner_text("#asr"), page.inner_text("#ner")) == ("43.0 %", "53.8 %")
        assert page.inner_text("#acd") == "15 s"
        assert page.locator("#asr-chart rect:not(.cursor)").count() == 2
        rows = page.locator("#countries tbody tr").all_inner_texts()
        assert [row.split("\t")[:3] for row in rows] == [["FR", "50", "20.0 %"], ["DE", "40", "75.0 %"]]
        assert page.inner_text("#countries-note") == "1 more had fewer attempts."
        page.fill("#enough", "1")
        assert page.locator("#countries tbody tr").first.inner_text().split("\t")[0] == "US"
        assert page.inner_text("#charges tbody") == "EUR\t0.2"
        assert page.inner_text("#charges-note").startswith("2 calls have a price that is in no sum")
        page.select_option("[name=direction]", "inbound")
        page.select_option("[name=span]", "6h")
        page.wait_for_selector("#attempts:text-is('57')", timeout=PATIENCE)
        assert page.url == f"{made.url}/kpis?span=6h&direction=inbound"
        with page.expect_download() as download:
            page.click("#export")
        download.value.save_as(tmp_path / "kpis.csv")
        head, *lines = (tmp_path / "kpis.csv").read_text().splitlines()
        assert head.startswith("start,attempts,completed,")
        assert head.endswith(",uncharged,charges_EUR")
        assert [line.split(",")[1] for line in lines] == ["7", "50"]
        assert lines[-1].endswith(",600,0,0,0.1")
        assert page.complaints == []


@pytest.mark.browser
def test_the_page_takes_the_token_and_says_what_is_missing(browser: Any) -> None:
    holder = Holder(partitions=[0, 1])
    holder.group = [Member("me", "", [0, 1]), Member("other", "http://127.0.0.1:1", [2, 3])]
    with opened(browser, "?direction=inbound", holder=holder, api_token="right") as (page, _):
        page.wait_for_selector("#banner:has-text('API token')", timeout=PATIENCE)
        page.fill("#token-value", "right")
        page.click("#token button")
        page.wait_for_selector("#attempts:text-is('50')", timeout=PATIENCE)
        assert "2 of 4 partitions only" in page.inner_text("#banner")


@pytest.mark.browser
@pytest.mark.parametrize(
    ("scheme", "size"), [("light", (1280, 900)), ("dark", (360, 740))], ids=["light-desk", "dark-phone"]
)
def test_it_fits_and_axe_finds_nothing(browser: Any, scheme: str, size: tuple[int, int]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    options = {"color_scheme": scheme, "viewport": {"width": size[0], "height": size[1]}}
    with opened(browser, options=options) as (page, _):
        page.wait_for_selector("#attempts:text-is('93')", timeout=PATIENCE)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        found = axe.run(page).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
