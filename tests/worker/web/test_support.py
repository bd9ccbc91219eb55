"""The four questions of docs/support.md, answered as a support engineer does: by clicking, with nothing but a token."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.kafka import Record, produce
from support.worker import Setup, Worker, wait_for, wait_until_done

pytestmark = [pytest.mark.kafka, pytest.mark.browser]

PATIENCE = 40_000  # ms
TOKEN = "right"
CUSTOMER = "+12125550123"
PARIS, BERLIN = "+33142685300", "+493012345678"
HOUR = 3600
UNPRICED = "5a0c1f4e-7d1a-4c6f-9d3b-2f1d0f5b7a11"
UNBILLED = "9b2f6c3d-1e4a-4b8c-8f7d-6a5c4b3d2e22"


def event(call_id: str, status: str, ago: float, to: str = BERLIN, **more: Any) -> Record:
    """An event so many seconds ago; what it has instead of something is in `more`."""
    call = {"id": call_id, "status": status, "direction": "outbound", "from": CUSTOMER, "to": to} | more
    at = int((time.time() - ago) * 1000)
    return Record(json.dumps(call).encode(), call_id.encode(), at, [("producer", b"gateway-7")], None)


def calls() -> list[Record]:
    """What happened in the last hours."""
    found = [
        *(
            event(UNPRICED, status, 900 - 20 * n)
            for n, status in enumerate(("queued", "ringing", "in-progress"))
        ),
        event(UNPRICED, "completed", 700),
        event(
            UNPRICED, "completed", 690, price=-0.042, price_unit="USD"
        ),  # a number, where the schema has a string
        event(UNBILLED, "in-progress", 600),
        event(UNBILLED, "finished", 500),  # a status that there is not
    ]
    for n in range(4):
        found += [
            event(f"hangs-{n}", "ringing", 3 * HOUR + n, PARIS),
            event(f"talks-{n}", "in-progress", 60, PARIS),
        ]
        found += [
            event(f"german-{n}", "ringing", 3 * HOUR + n),
            event(f"wrong-{n}", "ringing", 40, to="0049 30 1"),
        ]
    return found  # fmt: skip


@pytest.fixture(scope="module")
def served(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a worker that has read them all."""
    setup = Setup(kafka, partitions=2, settings={"API_TOKEN": TOKEN})
    setup.create()
    produce(kafka, setup.calls, calls())
    with Worker(setup, tmp_path_factory.mktemp("support") / "log") as worker:
        wait_for("it is ready", lambda: "HTTP is at" in worker.said() and worker.get("/ready") == 200)
        wait_until_done(setup)
        yield worker.url


class Person:
    """Somebody at a browser, whose clicks and texts are counted."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.actions = 0

    def click(self, selector: str) -> None:
        self.actions += 1
        self.page.click(selector, timeout=PATIENCE)

    def write(self, selector: str, text: str) -> None:
        self.actions += 1
        self.page.click(selector)
        self.page.keyboard.type(text)

    def enter(self) -> None:
        self.actions += 1
        self.page.keyboard.press("Enter")

    def choose(self, selector: str, option: str) -> None:
        self.actions += 1
        self.page.select_option(selector, label=option)

    def sees(self, selector: str, text: str = "") -> str:
        """The text of what comes up, in which a text stands."""
        found = self.page.locator(selector, has_text=text).first
        found.wait_for(timeout=PATIENCE)
        return str(found.inner_text())


@contextmanager
def person(browser: Any, served: str) -> Iterator[Person]:
    """Somebody who opens the live page and gives the token."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.goto(served)
    somebody = Person(page)
    somebody.sees("#token")
    somebody.write("#token-value", TOKEN)
    somebody.enter()
    somebody.sees("#longest tr")
    yield somebody
    assert TOKEN not in page.url
    context.close()


def test_why_has_this_call_no_price(browser: Any, served: str) -> None:
    with person(browser, served) as somebody:
        somebody.write("#find-id", UNPRICED)
        somebody.enter()
        assert somebody.sees("#state", "Closed") == "Closed"
        assert somebody.sees("#fields dt:text-is('price') + dd") == "no accepted event had one"
        somebody.click("text=Look for them")
        assert "$.price" in somebody.sees("#rejected tbody tr")
        somebody.click("#rejected tbody a")
        assert somebody.sees("#fault").strip() == '"price": -0.042,'
        assert "price" in somebody.sees("#message")
        assert UNPRICED in somebody.sees("#about")
        assert somebody.actions == 6


def test_why_was_this_customers_call_not_billed(browser: Any, served: str) -> None:
    with person(browser, served) as somebody:
        somebody.write("#find-id", UNBILLED)
        somebody.enter()
        assert "in-progress" in somebody.sees("#meaning", "timeout")
        assert somebody.sees("#state") == "Open"
        somebody.click("text=Look for them")
        somebody.click("#rejected tbody a")
        assert somebody.sees("#fault").strip() == '"status": "finished",'
        assert re.match("telefonie dead redrive --origin [01]:[0-9]+ --dry-run", somebody.sees("#command"))
        assert somebody.actions == 6


def test_which_calls_to_france_hang_since_noon(browser: Any, served: str) -> None:
    with person(browser, served) as somebody:
        somebody.click("nav >> text=Open calls")
        somebody.write("[name=older_than]", "2h")
        somebody.write("[name=country]", "fr")
        somebody.sees("#total:text-is('4')")
        rows = somebody.page.locator("#calls tbody tr").all_inner_texts()
        assert [row.split("\t")[0] for row in rows] == [f"hangs-{n}" for n in (3, 2, 1, 0)]
        assert all("3 h 0 min" in row and "FR" in row for row in rows)
        somebody.click("#calls a >> nth=0")
        assert "ringing" in somebody.sees("#meaning", "timeout")
        assert somebody.actions == 6


def test_what_does_a_producer_send_wrong(browser: Any, served: str) -> None:
    with person(browser, served) as somebody:
        somebody.click("nav >> text=Rejected")
        somebody.sees("#total:text-is('6')")
        worst = somebody.sees("#faults tbody tr")
        assert worst.split("\t")[:3] == ["4", "schema", "$.to"]
        somebody.click("#faults a >> nth=0")
        somebody.sees("#total:text-is('4')")
        assert "--reason schema --path '$.to'" in somebody.sees("#command")
        somebody.click("#letters a >> nth=0")
        assert somebody.sees("#fault").strip() == '"to": "0049 30 1"'
        assert somebody.sees("#headers", "gateway-7").split() == ["producer", "gateway-7"]
        assert somebody.actions == 5
