"""The page of rejected records in a real browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.pages import PHONE, MadeUpTopics, Site, site, watched

from streams.codecs import Rejected, dead_headers
from streams.kafka.reading import LogRecord
from streams.worker.web import published

pytestmark = pytest.mark.browser

PATIENCE = 15_000  # ms
BIDI = "<b onclick='x'>\u202e\x1b[2J"
#: Of the faults: the reason, the message, the path, and how long ago (s).
FAULTS: list[tuple[Any, str, str | None, int]] = [
    ("malformed", "not JSON at byte 7", None, 7_000),
    ("schema", "status: no such status", "$.status", 3_000),
    ("schema", "from: " + BIDI, "$.from", 2_000),
    ("schema", "status: no such status", "$.status", 1_000),
    ("empty", "no value", None, 10),
]


def one(value: Any, **more: Any) -> dict[str, Any]:
    """A letter with what is in it, as the API tells of it."""
    return {
        "partition": 0, "offset": 3, "at": "2026-11-25T00:00:00.000Z", "reason": "schema", "message": "status: " + BIDI,
        "path": "$.status", "origin": {"topic": "telefonie.calls", "partition": 2, "offset": 1742},
        "event_at": "2026-11-25T00:00:00.000Z", "key": {"kind": "text", "content": "a/b", "cut": False},
        "headers": [{"name": "trace", "value": {"kind": "hex", "content": "ff00", "cut": False}}],
        "value": value, "value_bytes": 70, "gone": False, "too_large": False, "redriven": True, **more,
    }  # fmt: skip


def topics(**ones: dict[str, Any]) -> MadeUpTopics:
    now = time.time_ns() // 1_000_000
    letters = []
    for n, (reason, message, path, ago) in enumerate(FAULTS):
        headers = dead_headers([], Rejected(reason, message, path), "telefonie.calls", 2, n, 0)
        letters.append(LogRecord(0, n, now - 1000 * ago, b"a", PHONE.encode(), headers))
    return MadeUpTopics(
        {"completed": [], "dead": letters}, {(0, int(n.strip("_"))): each for n, each in ones.items()}
    )


@contextmanager
def opened(
    browser: Any, monkeypatch: pytest.MonkeyPatch, made_up: MadeUpTopics, path: str = "/dead", **values: Any
) -> Iterator[tuple[Any, Site]]:
    """The page; `complaints` are its errors, and what it has asked of others."""
    monkeypatch.setattr(published, "Topics", made_up)
    options = values.pop("options", {})
    with site(**values) as made, watched(browser, made.url, path, **options) as page:
        yield page, made


def shows(page: Any, total: str) -> None:
    page.wait_for_selector(f"#total:text-is('{total}')", timeout=PATIENCE)
    page.wait_for_selector("#note:not(:has-text('Reading'))", timeout=PATIENCE)


def test_what_a_producer_sends_wrong(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(browser, monkeypatch, topics()) as (page, made):
        shows(page, "4")
        assert page.locator("#legend li").all_inner_texts() == ["schema\n3", "empty\n1"]
        assert page.get_attribute("#chart", "aria-label") == "Rejected records by reason: schema 3, empty 1"
        assert page.locator("#chart rect:not(.cursor)").count() == 4
        page.hover("#chart", position={"x": 1, "y": 20})
        assert page.inner_text("#chart-readout").endswith(": none")
        page.mouse.move(0, 0)
        page.focus("#chart")
        page.keyboard.press("End")
        assert page.inner_text("#chart-readout").endswith(": 1 empty")
        assert page.get_attribute("#chart", "aria-valuetext") == page.inner_text("#chart-readout")
        rows = page.locator("#letters tbody tr").all_inner_texts()
        assert [row.split("\t")[2] for row in rows] == ["empty", "schema", "schema", "schema"]
        faults = page.locator("#faults tbody tr").all_inner_texts()
        assert (len(faults), faults[0].split("\t")) == (
            3,
            ["2", "schema", "$.status", "status: no such status"],
        )
        link = page.locator("#faults a").first.get_attribute("href")
        assert link == "/dead?span=3600&reason=schema&path=%24.status"
        page.select_option("[name=reason]", "schema")
        shows(page, "3")
        page.fill("[name=path]", "$.status")
        shows(page, "2")
        assert page.url == f"{made.url}/dead?span=3600&reason=schema&path=%24.status"
        command = page.inner_text("#command")
        assert command.startswith("telefonie dead redrive --reason schema --path '$.status' --since 20")
        assert command.endswith("Z --dry-run")
        page.goto(f"{made.url}/dead?span=21600&reason=malformed")
        shows(page, "1")
        assert page.input_value("[name=reason]") == "malformed"
        assert PHONE not in page.content()
        assert page.complaints == []


def test_hostile_text_does_nothing(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(browser, monkeypatch, topics()) as (page, _):
        shows(page, "4")
        assert "<b onclick='x'>\\u{202e}\\u{1b}[2J" in page.inner_text("#letters")
        assert page.locator("main b[onclick]").count() == 0


VALUE = '{\n  "id": "a/b",\n  "status": {\n    "x": [\n      1\n    ]\n  },\n  "to": "' + BIDI + '"\n}'


def test_one_record_with_the_faulty_property_marked(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    letter = one({"kind": "json", "content": VALUE, "cut": False})
    with opened(browser, monkeypatch, topics(_3=letter), "/dead/0:3") as (page, _):
        page.wait_for_selector("#fault", timeout=PATIENCE)
        assert page.inner_text("#fault") == '  "status": {\n    "x": [\n      1\n    ]\n  },'
        assert (
            page.inner_text("#value").replace("\\u{202e}", "\u202e").replace("\\u{1b}", "\x1b").strip()
            == VALUE
        )
        assert page.inner_text("#redriven") == "It has been sent back."
        assert page.inner_text("#command") == "telefonie dead redrive --origin 2:1742 --dry-run"
        assert page.get_attribute("#about a", "href") == "/calls/a%2Fb"
        assert page.inner_text("#headers dd") == "0xff00"
        assert page.locator("main b[onclick]").count() == 0
        assert page.complaints == []


def test_values_that_are_no_json_and_none_at_all(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = topics(
        _0=one({"kind": "hex", "content": "82a2" + "00" * 20 + "41", "cut": False}),
        _1=one(None, gone=True),
        _3=one(None, too_large=True, value_bytes=20_000_000),
        _2=one({"kind": "text", "content": "x" * (1 << 20), "cut": True}, value_bytes=2_000_000),
    )
    with opened(browser, monkeypatch, made_up, "/dead/0:0") as (page, made):
        page.wait_for_selector("#value:has-text('00000010  ')", timeout=PATIENCE)
        assert (
            page.inner_text("#value")
            .rstrip()
            .endswith("00 00 00 00 00 00 41                             ......A")
        )
        page.goto(f"{made.url}/dead/0:1")
        page.wait_for_selector("#value-note:has-text('are gone from their place')", timeout=PATIENCE)
        assert page.is_hidden("#command-row")
        page.goto(f"{made.url}/dead/0:3")
        page.wait_for_selector("#value-note:has-text('more than the 16 MiB')", timeout=PATIENCE)
        assert "20,000,000 bytes" in page.inner_text("#value-note")
        assert page.is_hidden("#command-row")
        page.goto(f"{made.url}/dead/0:2")
        page.wait_for_selector("#value-note:has-text('only the beginning')", timeout=PATIENCE)
        assert "2,000,000 bytes" in page.inner_text("#value-note")
        page.goto(f"{made.url}/dead/0:99")
        page.wait_for_selector("#banner:has-text('No dead letter lies at this place')", timeout=PATIENCE)
        assert page.complaints == []


def test_a_flood_is_read_in_pieces(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = topics()
    lying = made_up.records["dead"]
    lying += [lying[-1]._replace(offset=n) for n in range(len(lying), 25)]
    with opened(browser, monkeypatch, made_up) as (page, _):
        shows(page, "10")  # five pieces of two
        assert "back to" in page.inner_text("#note")
        assert page.locator("#chart .unknown").count() == 1
        assert page.inner_text("#chart-readout") == "What is gray has not been read."
        page.click("#more")
        shows(page, "20")


def test_it_takes_the_token(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(browser, monkeypatch, topics(), api_token="right") as (page, _):
        page.wait_for_selector("#banner:has-text('API token')", timeout=PATIENCE)
        assert page.locator("#letters tbody tr").count() == 0
        page.fill("#token-value", "wrong")
        page.click("#token button")
        page.wait_for_selector("#banner:has-text('does not know that token')", timeout=PATIENCE)
        page.fill("#token-value", "right")
        page.click("#token button")
        shows(page, "4")
        assert page.is_hidden("#token")


@pytest.mark.parametrize("path", ["/dead", "/dead/0:3"])
@pytest.mark.parametrize(
    ("scheme", "size"), [("light", (1280, 900)), ("dark", (360, 740))], ids=["light-desk", "dark-phone"]
)
def test_it_fits_and_axe_finds_nothing(
    browser: Any, monkeypatch: pytest.MonkeyPatch, scheme: str, size: tuple[int, int], path: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    options = {"color_scheme": scheme, "viewport": {"width": size[0], "height": size[1]}}
    made_up = topics(_3=one({"kind": "json", "content": VALUE + "x" * 500, "cut": False}))
    with opened(browser, monkeypatch, made_up, path, options=options) as (page, _):
        page.wait_for_selector("#fault" if path != "/dead" else "#letters tbody tr", timeout=PATIENCE)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        found = axe.run(page).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
