"""The pages of real workers in a real browser: while one restarts, while one is silent, and with odd records."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support.kafka import Record, produce
from support.pages import watched
from support.worker import Setup, Worker, wait_for, wait_until_done

pytestmark = [pytest.mark.kafka, pytest.mark.browser]

PATIENCE = 40_000  # ms
PHONE = "+12125550123"
HOSTILE = '<img src=x onerror=document.title="owned">\u202e\x1b[2J'
TOKEN = "right"


def event(call_id: str, status: str, partition: int | None = None, **more: Any) -> Record:
    call = {"id": call_id, "status": status, "direction": "outbound", "from": PHONE, "to": "+33612345678"}
    document = json.dumps(call | more).encode()
    return Record(document, call_id.encode(), int(time.time() * 1000), (), partition)


@pytest.fixture
def setup(kafka: str) -> Setup:
    made = Setup(kafka, partitions=2, settings={"API_TOKEN": TOKEN, "SESSION_TIMEOUT": "10s"})
    made.create()
    return made


@contextmanager
def worker(setup: Setup, log: Path, **env: str) -> Iterator[Worker]:
    """One that answers."""
    with Worker(setup, log, env=env) as made:
        wait_for("it is ready", lambda: "HTTP is at" in made.said() and made.get("/ready") == 200)
        yield made


@contextmanager
def opened(browser: Any, made: Worker, path: str, **options: Any) -> Iterator[Any]:
    """A page, with the token given; `complaints` are its errors, and what it has asked of others."""
    with watched(browser, made.url, path, token=TOKEN, **options) as page:
        yield page
        assert page.complaints == []


def state(name: str) -> str:
    return f"#state:text-is('{name}')"


def test_a_call_that_changes_while_its_worker_restarts(browser: Any, setup: Setup, tmp_path: Path) -> None:
    port = {"HTTP_PORT": "0"}
    produce(setup.brokers, setup.calls, [event("a/b", "ringing")])
    with worker(setup, tmp_path / "log", **port) as made:
        wait_until_done(setup)
        port["HTTP_PORT"] = made.url.rpartition(":")[2]
        with opened(browser, made, "/calls/a%2Fb") as page:
            page.wait_for_selector(state("Open"), timeout=PATIENCE)
            made.kill()
            page.wait_for_selector(state("Cannot be said now"), timeout=PATIENCE)
            produce(setup.brokers, setup.calls, [event("a/b", "busy")])
            with worker(setup, tmp_path / "log", **port):
                page.wait_for_selector(state("Closed"), timeout=PATIENCE)
                page.wait_for_selector(".revision", timeout=PATIENCE)
                page.click("nav >> text=Open calls")
                page.wait_for_selector("#total:text-is('0')", timeout=PATIENCE)


def test_of_two_workers_one_is_silent(browser: Any, setup: Setup, tmp_path: Path) -> None:
    # For as long as all of this takes: afterwards the other one has its partition.
    setup = replace(setup, settings={**setup.settings, "SESSION_TIMEOUT": "60s"})
    with worker(setup, tmp_path / "one") as one, worker(setup, tmp_path / "two") as two:
        wait_for(
            "each has a partition",
            lambda: one.assignments()[-1:] == [[0]] and two.assignments()[-1:] == [[1]],
        )
        produce(setup.brokers, setup.calls, [event("at-one", "ringing", 0), event("at-two", "ringing", 1)])
        wait_until_done(setup)
        with opened(browser, one, "/calls") as page:
            page.wait_for_selector("#total:text-is('2')", timeout=PATIENCE)
            two.signal(signal.SIGSTOP)
            page.wait_for_selector("#banner:has-text('1 of 2 partitions only')", timeout=PATIENCE)
            assert "does not answer" in page.inner_text("#banner")
            page.wait_for_selector("#total:text-is('1')", timeout=PATIENCE)
            page.goto(one.url + "/calls/nobody")
            page.wait_for_selector(state("Cannot be said now"), timeout=PATIENCE)
            two.signal(signal.SIGCONT)
            page.goto(one.url + "/calls")
            page.wait_for_selector("#total:text-is('2')", timeout=PATIENCE)


def test_a_flood_of_rejects_and_a_hostile_megabyte(browser: Any, setup: Setup, tmp_path: Path) -> None:
    hostile = Record(
        (HOSTILE + "x" * 990_000).encode(), HOSTILE.encode(), headers=[(HOSTILE, b"\xff")], partition=1
    )
    odd = Record(
        json.dumps({"id": HOSTILE, "status": HOSTILE, "url": "y" * 500_000}).encode(), b"k", partition=1
    )
    produce(setup.brokers, setup.calls, [Record(b"{}", b"flood", partition=0) for _ in range(12_000)])
    produce(setup.brokers, setup.calls, [hostile, odd])
    with worker(setup, tmp_path / "log") as made:
        wait_until_done(setup)
        with opened(browser, made, "/dead", viewport={"width": 360, "height": 740}) as page:
            page.wait_for_selector("#more:visible", timeout=PATIENCE)
            assert page.inner_text("#shown").startswith("The newest 200 of ")
            before = int(page.inner_text("#total").replace(",", ""))
            page.click("#more")
            page.wait_for_selector("#note:has-text('All since')", timeout=PATIENCE)
            assert before < 12_002
            assert page.inner_text("#total") == "12,002"
            page.select_option("[name=reason]", "malformed")
            page.wait_for_selector("#total:text-is('1')", timeout=PATIENCE)
            page.click("#letters a")
            page.wait_for_selector("#value:has-text('xxx')", timeout=PATIENCE)
            assert page.locator("main img").count() == 0
            assert page.title().startswith("malformed")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            page.click("#about a")
            page.wait_for_selector(state("Unknown"), timeout=PATIENCE)
            page.click("#rejected-more")
            page.wait_for_selector("#rejected a", timeout=PATIENCE)
            assert page.title().startswith("Unknown")


def test_every_page_by_keyboard_and_without_the_token(browser: Any, setup: Setup, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    produce(setup.brokers, setup.calls, [event("one", "ringing"), Record(b"{}", b"one", partition=0)])
    with worker(setup, tmp_path / "log") as made:
        wait_until_done(setup)
        context = browser.new_context(viewport={"width": 360, "height": 740})
        page = context.new_page()
        for path in ("/calls/one", "/calls", "/dead", "/dead/0:0", "/kpis"):
            page.goto(made.url + path)
            page.wait_for_selector("#token:visible", timeout=PATIENCE)
            assert PHONE not in page.content()
            assert page.locator("tbody tr, .revision, #fields dd").count() == 0
            found = axe.run(page).response["violations"]
            assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
            assert TOKEN not in page.url
        page.goto(made.url + "/calls")
        page.wait_for_selector("#token:visible", timeout=PATIENCE)
        page.focus("#token-value")
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("#calls a", timeout=PATIENCE)
        page.keyboard.press("Tab")  # the button is gone: on to the filters
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.matches('#calls a')"):
                break
        page.keyboard.press("Enter")
        page.wait_for_selector(state("Open"), timeout=PATIENCE)
        page.focus("#find-id")
        page.keyboard.type("one")
        page.keyboard.press("Enter")
        page.wait_for_selector(state("Open"), timeout=PATIENCE)
        context.close()


#: What a shell, a terminal or a person may take for something else.
ODD_KEY = "a'b\\\x1b[2J\u202e$(exit 3)`id`;=~*\"\t\u2028é"


def test_the_copied_command_selects_what_the_page_shows(browser: Any, setup: Setup, tmp_path: Path) -> None:
    bad = [Record(b"{}", key.encode(), partition=0) for key in (ODD_KEY, ODD_KEY[:-1], "other")]
    produce(setup.brokers, setup.calls, bad)
    may = {"permissions": ["clipboard-read", "clipboard-write"]}
    with worker(setup, tmp_path / "log") as made:
        wait_until_done(setup)
        with opened(browser, made, f"/dead?span=3600&key={quote(ODD_KEY)}", **may) as page:
            page.wait_for_selector("#total:text-is('1')", timeout=PATIENCE)
            place = page.inner_text("#letters a")
            page.click("#copy")
            page.wait_for_selector("#copy:text-is('Copied')", timeout=PATIENCE)
            command = page.evaluate("navigator.clipboard.readText()")
    assert command.isprintable()
    done = subprocess.run(
        ["bash", "-c", command.replace("telefonie", f"{sys.executable} -m streams", 1)],
        env=setup.env() | {"LC_ALL": "C"}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert [line.split()[0] for line in done.stdout.splitlines()] == [place], done.stderr


def test_a_command_that_cannot_be_copied_is_selected(browser: Any, setup: Setup, tmp_path: Path) -> None:
    with worker(setup, tmp_path / "log") as made, opened(browser, made, "/dead") as page:
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        page.click("#copy")
        page.wait_for_selector("#copy:text-is('Selected: press Ctrl-C')", timeout=PATIENCE)
        assert page.evaluate("getSelection().toString()") == page.inner_text("#command")
        page.goto(made.url + "/dead?key=a%00b")
        page.wait_for_selector("#note:has-text('All since')", timeout=PATIENCE)
        assert page.is_hidden("#command-row"), "no command can be given a NUL"
