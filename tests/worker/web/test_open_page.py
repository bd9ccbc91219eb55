"""The page of open calls in a real browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.pages import PHONE, MadeUpWorker, Site, site, watched

from streams.calls.times import instant
from streams.calls.view import AGES, OpenPage, OpenSelection
from streams.engine.members import Member
from streams.worker.web.calls import _place

pytestmark = pytest.mark.browser

PATIENCE = 15_000  # ms
HOSTILE = '<b onclick="x">\u202e\x1b[2J'


class Holder(MadeUpWorker):
    """Holds a ringing call from France that hangs for two hours, and queued ones that are new."""

    new = 300

    async def open_calls(self, selection: OpenSelection, limit: int) -> OpenPage:
        now = time.time_ns() // 1_000_000
        calls = [(f"{self.member_id}-hangs", "ringing", 7_200_000, "FR"), (HOSTILE, "queued", 100_000, "DE")]
        calls += [(f"new-{n}", "queued", 5_000, "US") for n in range(self.new)]
        found = [
            {
                "id": id_, "status": status, "from": PHONE, "to": PHONE, "from_country": country, "to_country": "US",
                "opened_at": instant(now - age), "last_event_at": instant(now - age), "due_at": instant(now),
            }
            for id_, status, age, country in calls
            if (not selection.statuses or status in selection.statuses)
            and (not selection.countries or country in selection.countries)
            and (selection.before is None or now - age <= selection.before)
        ]  # fmt: skip
        ages = [0] * (len(AGES) + 1)
        for each in found:
            ages[{"r": 4, "q": 0 if "new" in each["id"] else 1}[each["status"][0]]] += 1
        found.sort(key=_place)
        places = [_place(each) for each in found]
        begin = 1 + [id_ for _, id_ in places].index(selection.after[1]) if selection.after[1] else 0
        end = begin + limit
        return OpenPage(found[begin:end], ages, places[end - 1] if end < len(found) else None)


@contextmanager
def opened(
    browser: Any, holder: Holder, query: str = "", options: dict[str, Any] | None = None, **values: Any
) -> Iterator[tuple[Any, Site]]:
    """The page; `complaints` are its errors, and what it has asked of others."""
    with (
        site(holder, **values) as made,
        watched(browser, made.url, f"/calls{query}", **options or {}) as page,
    ):
        yield page, made


def shows(page: Any, total: str) -> None:
    page.wait_for_selector(f"#total:text-is('{total}')", timeout=PATIENCE)


def test_what_hangs_is_found_by_age_status_and_country(browser: Any) -> None:
    with opened(browser, Holder()) as (page, made):
        shows(page, "302")
        assert page.locator("#calls tbody tr").count() == 100
        assert page.inner_text("#note") == "1 to 100 of 302."
        rows = dict(each.split("\n")[:2] for each in page.locator("#ages li").all_inner_texts())
        assert rows == {
            "up to 1 min": "300", "1 min to 5 min": "1", "5 min to 15 min": "0", "15 min to 1 h": "0",
            "1 h to 6 h": "1", "6 h to 24 h": "0", "over 24 h": "0",
        }  # fmt: skip
        page.fill("[name=older_than]", "soon")  # which is no duration, so nothing changes
        page.fill("[name=older_than]", "1h")
        shows(page, "1")
        page.fill("[name=country]", "fr")
        page.check("[value=ringing]")
        assert page.url == f"{made.url}/calls?status=ringing&older_than=1h&country=fr"
        shows(page, "1")
        assert page.locator("#calls tbody tr").all_inner_texts()[0].split("\t")[:4:3] == [
            "me-hangs",
            "2 h 0 min",
        ]
        page.check("[value=queued]")
        page.uncheck("[value=ringing]")
        shows(page, "0")
        assert PHONE not in page.content()
        assert page.complaints == []


def test_every_open_call_is_on_some_page(browser: Any) -> None:
    with opened(browser, Holder()) as (page, _):
        shows(page, "302")
        found = list[str]()
        for note in ("1 to 100", "101 to 200", "201 to 300", "301 to 302"):
            page.wait_for_selector(f"#note:text-is('{note} of 302.')", timeout=PATIENCE)
            found += page.locator("#calls a").all_inner_texts()
            if note != "301 to 302":
                page.click("#next")
        assert len(set(found)) == 302
        assert page.is_hidden("#next")
        page.click("#previous")
        page.wait_for_selector("#note:text-is('201 to 300 of 302.')", timeout=PATIENCE)
        page.check("[value=queued]")
        page.wait_for_selector("#note:text-is('1 to 100 of 301.')", timeout=PATIENCE)
        assert page.is_hidden("#previous")
        assert page.complaints == []


def test_an_address_brings_its_filters_along(browser: Any) -> None:
    with opened(browser, Holder(), "?status=queued&older_than=90s&country=DE") as (page, made):
        shows(page, "1")
        assert page.is_checked("[value=queued]")
        assert page.input_value("[name=older_than]") == "90s"
        link = page.locator("#calls a").first
        assert link.inner_text() == '<b onclick="x">\\u{202e}\\u{1b}[2J'
        assert page.locator("main b[onclick]").count() == 0
        link.click()
        page.wait_for_selector("#id:has-text('onclick')", timeout=PATIENCE)
        page.goto(f"{made.url}/calls?older_than=soon")
        page.wait_for_selector("#banner:has-text('older_than takes a duration')", timeout=PATIENCE)


def test_of_a_worker_that_is_silent_the_calls_are_said_to_be_missing(browser: Any) -> None:
    holder = Holder(partitions=[0, 1])
    holder.group = [Member("me", "", [0, 1]), Member("other", "http://127.0.0.1:1", [2, 3])]
    with opened(browser, holder) as (page, _):
        page.wait_for_selector("#banner:has-text('2 of 4 partitions only')", timeout=PATIENCE)
        assert "does not answer" in page.inner_text("#banner")
        holder.reasons = ["a rebalance is under way"]
        page.wait_for_selector("#banner:has-text('cannot be said now')", timeout=PATIENCE)


def test_it_takes_the_token(browser: Any) -> None:
    with opened(browser, Holder(), api_token="right") as (page, _):
        page.wait_for_selector("#banner:has-text('API token')", timeout=PATIENCE)
        assert page.inner_text("#total") == "–"
        page.fill("#token-value", "right")
        page.click("#token button")
        shows(page, "302")


@pytest.mark.parametrize(
    ("scheme", "size"), [("light", (1280, 900)), ("dark", (360, 740))], ids=["light-desk", "dark-phone"]
)
def test_it_fits_and_axe_finds_nothing(browser: Any, scheme: str, size: tuple[int, int]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    options = {"color_scheme": scheme, "viewport": {"width": size[0], "height": size[1]}}
    with opened(browser, Holder(), options=options) as (page, _):
        shows(page, "302")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        found = axe.run(page).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
