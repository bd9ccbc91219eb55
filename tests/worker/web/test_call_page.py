"""The page of one call in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support.pages import MadeUpTopics, MadeUpWorker, Site, site, watched

from streams.calls.partition import CallsPartition, Rules
from streams.calls.view import describe
from streams.codecs import Rejected, dead_headers
from streams.codecs.completed_call import ANOMALIES
from streams.kafka.reading import LogRecord
from streams.worker.web import published

pytestmark = pytest.mark.browser

PATIENCE = 15_000  # ms
START = 1_764_041_713_000
ID = "439ede6d-bb62-4a4d-ac6e-a116570ba1bc"
FROM, TO = "+12125550123", "+33612345678"
LIFE = [
    (0, {"status": "queued"}),
    (2, {"status": "ringing"}),
    (9, {"status": "in-progress"}),
    (70, {"status": "completed", "start_time": "2025-11-25T03:35:22Z", "end_time": "2025-11-25T03:36:23Z"}),
    (3600, {"status": "completed", "price": "-0.0421"}),
    (3700, {"status": "completed", "price": "-0.0421", "price_unit": "USD"}),
]
HOSTILE = '<img src=x onerror=document.title="owned">\u202e\x1b[2J/../é☎%2F'
STATE = "#state:text-is('{}')"


class Holder(MadeUpWorker):
    """Holds what became of some events; `topics` is what was published of them."""

    def __init__(self, id_: str = ID) -> None:
        super().__init__()
        self.id = id_
        self.calls = CallsPartition(Rules(), 0)
        self.topics = MadeUpTopics({"completed": [], "dead": []})
        self.forgotten = False
        self.events = 0

    def apply(self, *events: tuple[int, dict[str, Any]]) -> Holder:
        for at, event in events:
            document = {"id": self.id, "direction": "outbound", "from": FROM, "to": TO} | event
            record = (self.events, START + at * 1000, None, json.dumps(document).encode(), [])
            self.calls.process([record], 1 << 60)
            self.events += 1
            for key, value, stamp, headers in self.calls.checkpoint().outputs["completed"]:
                self.publish(key, value, stamp, headers)
        return self

    def publish(self, key: bytes | None, value: bytes | None, stamp: int, headers: Any = ()) -> None:
        lying = self.topics.records["completed"]
        lying.append(LogRecord(0, len(lying), stamp, key, value, headers))

    def reject(self, key: bytes, reason: Any, message: str) -> None:
        lying = self.topics.records["dead"]
        headers = dead_headers(
            [], Rejected(reason, message, "$.status"), "telefonie.calls", 0, len(lying), START
        )
        lying.append(LogRecord(0, len(lying), START + len(lying), key, b"{}", headers))

    def call(self, call_id: str) -> dict[str, Any] | None:
        return None if self.forgotten else describe(self.calls, call_id)


@contextmanager
def opened(
    browser: Any, holder: Holder, monkeypatch: pytest.MonkeyPatch, **values: Any
) -> Iterator[tuple[Any, Site]]:
    """The page of the holder's call; `complaints` are its errors, and what it has asked of others."""
    monkeypatch.setattr(published, "Topics", holder.topics)
    options = values.pop("options", {})
    with site(holder, **values) as made:
        path = f"/calls/{quote(holder.id, safe='')}"
        with watched(browser, made.url, path, **options) as page:
            yield page, made


def test_a_closed_call_with_its_life_and_revisions(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(browser, Holder().apply(*LIFE), monkeypatch) as (page, _):
        page.wait_for_selector(STATE.format("Closed"), timeout=PATIENCE)
        assert "as completed" in page.inner_text("#meaning")
        page.wait_for_selector(".revision >> nth=2", timeout=PATIENCE)
        assert [each.split(" ")[1] for each in page.locator(".revision h3").all_inner_texts()] == [
            "3",
            "2",
            "1",
        ]
        newest = page.locator(".revision").first
        assert "USD" in newest.locator("ins").all_inner_texts()
        assert "price-without-currency" in newest.locator("del").all_inner_texts()
        assert page.locator(".bars-of-life i").count() == 4
        assert page.inner_text(".span.ring") == "ring 7 s"
        assert page.inner_text(".span.talk") == "talk 1:01 min"
        assert (
            page.get_attribute("#track", "aria-label")
            == "Timeline: queued, then ringing, then in-progress, then completed"
        )
        moments = page.locator("#moments li").all_inner_texts()
        assert "queued" in moments[0]
        assert "to come: forgotten" in moments[-1]
        assert page.inner_text("#anomalies-note") == "None: nothing is odd about it."
        assert page.complaints == []


def test_phone_numbers_are_masked_until_somebody_asks(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(browser, Holder().apply(*LIFE), monkeypatch) as (page, _):
        page.wait_for_selector(".revision >> nth=2", timeout=PATIENCE)
        page.locator("details summary").first.click()
        assert FROM not in page.content()
        assert TO not in page.content()
        page.click("#numbers")
        assert FROM in page.inner_text("#fields")
        page.click("#numbers")
        assert FROM not in page.content()


def test_an_open_call_that_changes_while_one_looks(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Holder().apply(*LIFE[:2])
    with opened(browser, holder, monkeypatch) as (page, _):
        page.wait_for_selector(STATE.format("Open"), timeout=PATIENCE)
        assert "It is ringing" in page.inner_text("#meaning")
        assert page.is_hidden("#published-card")
        holder.apply(*LIFE[2:4])
        page.wait_for_selector(STATE.format("Closed"), timeout=PATIENCE)
        page.wait_for_selector("text=Revision 1", timeout=PATIENCE)
        holder.apply(LIFE[4])
        page.wait_for_selector("text=Revision 2", timeout=PATIENCE)
        assert "its price is in no sum" not in page.inner_text("#anomalies")
        assert "no price_unit" in page.inner_text("#anomalies")
        holder.forgotten = True
        page.wait_for_selector(STATE.format("Forgotten"), timeout=PATIENCE)
        assert page.complaints == []


@pytest.mark.parametrize("way", ["pointer", "keyboard"])
def test_another_id_is_written_over_the_one_that_is_there(
    browser: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    with opened(browser, Holder().apply(*LIFE), monkeypatch) as (page, made):
        page.wait_for_selector(STATE.format("Closed"), timeout=PATIENCE)
        assert page.input_value("#find-id") == ID
        if way == "pointer":
            page.click("#find-id")
        else:
            page.focus("nav a >> nth=-1")
            page.keyboard.press("Tab")
        page.keyboard.type("another")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{made.url}/calls/another", timeout=PATIENCE)


@pytest.mark.parametrize("end", ["Forgotten", "Erased", "Unknown", "Not found yet"])
def test_a_call_that_no_worker_holds(browser: Any, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    holder = Holder()
    if end in ("Forgotten", "Erased"):
        holder.apply(*LIFE)
    if end == "Erased":
        holder.publish(ID.encode(), None, START)
    if end == "Not found yet":
        for n in range(13):
            holder.publish(b"other", b"{}", START + n)
    holder.forgotten = True
    holder.reject(ID.encode(), "schema", "status: no such status")
    holder.reject(b"another", "empty", "no value")
    with opened(browser, holder, monkeypatch) as (page, _):
        page.wait_for_selector(STATE.format(end), timeout=PATIENCE)
        if end == "Not found yet":
            assert "back to 2025-11-25 03:35" in page.inner_text("#revisions-note")
            page.click("#revisions-more")
            page.wait_for_selector(STATE.format("Unknown"), timeout=PATIENCE)
        page.click("#rejected-more")
        page.wait_for_selector("#rejected tbody tr", timeout=PATIENCE)
        assert page.locator("#rejected tbody tr").all_inner_texts()[0].split("\t")[1:] == [
            "schema", "status: no such status", "$.status", "telefonie.calls 0:0",
        ]  # fmt: skip
        assert page.complaints == []


def test_nothing_is_said_while_nothing_is_certain(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Holder().apply(*LIFE)
    holder.reasons = ["a rebalance is under way"]
    with opened(browser, holder, monkeypatch) as (page, made):
        page.wait_for_selector(STATE.format("Cannot be said now"), timeout=PATIENCE)
        assert "A rebalance is under way. Asking again" in page.inner_text("#meaning")
        holder.reasons = []
        page.wait_for_selector(STATE.format("Closed"), timeout=PATIENCE)
        made.stop()
        page.wait_for_selector(STATE.format("Cannot be said now"), timeout=PATIENCE)
        made.start()
        page.wait_for_selector(STATE.format("Closed"), timeout=PATIENCE)


def test_it_takes_the_token(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(browser, Holder().apply(*LIFE), monkeypatch, api_token="right") as (page, _):
        page.wait_for_selector(STATE.format("Token needed"), timeout=PATIENCE)
        assert page.is_hidden("#fields-card")
        page.fill("#token-value", "wrong")
        page.click("#token button")
        page.wait_for_selector("text=does not know that token", timeout=PATIENCE)
        page.fill("#token-value", "right")
        page.click("#token button")
        page.wait_for_selector("text=Revision 3", timeout=PATIENCE)
        page.reload()
        page.wait_for_selector("text=Revision 3", timeout=PATIENCE)
        assert "right" not in page.url


def test_a_hostile_id_is_shown_and_does_nothing(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Holder(HOSTILE).apply((0, {"status": "busy", "url": "https://example.com/?a=%3Cscript%3E"}))
    holder.reject(HOSTILE.encode(), "schema", "<b>bold</b>\u202e")
    with opened(browser, holder, monkeypatch) as (page, made):
        page.wait_for_selector("text=Revision 1", timeout=PATIENCE)
        assert page.inner_text("#id") == HOSTILE.replace("\u202e", "\\u{202e}").replace("\x1b", "\\u{1b}")
        page.click("#rejected-more")
        page.wait_for_selector("text=<b>bold</b>\\u{202e}", timeout=PATIENCE)
        assert page.locator("main img, main b, main script").count() == 0
        assert page.title().startswith("Closed · <img")
        page.goto(made.url + "/")
        page.fill("#find-id", HOSTILE)
        page.press("#find-id", "Enter")
        page.wait_for_selector("text=Revision 1", timeout=PATIENCE)
        assert page.complaints == []


@pytest.mark.parametrize(
    ("scheme", "size"), [("light", (1280, 900)), ("dark", (360, 740))], ids=["light-desk", "dark-phone"]
)
def test_it_fits_and_axe_finds_nothing(
    browser: Any, monkeypatch: pytest.MonkeyPatch, scheme: str, size: tuple[int, int]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    holder = Holder("x" * 300).apply(*LIFE[:5])
    holder.reject(b"x" * 300, "schema", "no status " * 20)
    options = {"color_scheme": scheme, "viewport": {"width": size[0], "height": size[1]}}
    with opened(browser, holder, monkeypatch, options=options) as (page, _):
        page.wait_for_selector("text=Revision 2", timeout=PATIENCE)
        page.click("#rejected-more")
        page.wait_for_selector("#rejected tbody tr", timeout=PATIENCE)
        page.locator("details summary").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        found = axe.run(page).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []


def test_every_anomaly_is_explained() -> None:
    script = (Path(published.__file__).parent / "pages/call.js").read_text()
    told = script.partition("const ANOMALIES = {")[2].partition("};")[0]
    assert [line.split('"')[1] for line in told.strip().splitlines()] == list(ANOMALIES)
