"""Nothing in a topic can control the terminal of the person who reads it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from support.kafka import Record, produce
from support.worker import Setup, run_until_caught_up

from streams.calls.times import instant
from streams.cli import main
from streams.cli.terminal import Styled, endless_table, table
from streams.codecs import CompletedCall, Rejected, Source, Timeline, dead_headers, encode_completed
from streams.printable import printable

NOW = int(time.time() * 1000)
ACTS = "\x1b]0;owned\x07\x1b[2J\r\n\t\b\x7f\x9b31m\u202egnp.exe\u2066\u200b\ufeff\u2028\U000e0041"
ESCAPED = r"\x1b]0;owned\x07\x1b[2J\r\n\t\x08\x7f\x9b31m\u202egnp.exe\u2066\u200b\ufeff\u2028\U000e0041"
PHONE = "+12125550123"
MESSAGE = f"odd {ACTS}"
#: What the commands themselves write to a terminal: colours, and rich's hidden cursor and cleared lines.
OURS = re.compile(r"\x1b\[[0-9;]*[mKAG]|\x1b\[\?25[lh]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tame text, +49 30 123", "tame text, +49 30 123"),
        ("Größe 電話 ☎ \\d", "Größe 電話 ☎ \\d"),
        (ACTS, ESCAPED),
        ("\udce4\ud800", r"\xe4\ud800"),
        ("a\u00a0b\u00adc", r"a\xa0b\xadc"),
        ("", ""),
    ],
)
def test_what_acts_or_is_not_seen_becomes_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize("people", [True, False])
def test_every_table_is_aligned_for_people_and_tabbed_for_programs(
    people: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: people)
    rows = [("one", "1"), ("three", "3")]
    table(("name", "n"), [(first, Styled(second, "bold")) for first, second in rows])
    at_once = [OURS.sub("", line).rstrip() for line in capsys.readouterr().out.splitlines()]
    show = endless_table(("name", "n"), (5, 0))
    for row in rows:
        show([row])
    one_by_one = [OURS.sub("", line) for line in capsys.readouterr().out.splitlines()]
    aligned = ["name   n", "one    1", "three  3"]
    assert at_once == one_by_one == (aligned if people else ["one\t1", "three\t3"])


def calm(output: str) -> bool:
    """Whether it is lines of printable text."""
    return all(line.replace("\t", "").isprintable() for line in output.split("\n"))


def call(call_id: str) -> CompletedCall:
    made = CompletedCall(
        call_id, "completed", "outbound", PHONE, PHONE, 1, "status", instant(NOW),
        Timeline(completed=instant(NOW)), True, 4, Source(ACTS, 0, 7),
    )  # fmt: skip
    made.price, made.price_unit, made.from_country, made.anomalies = ACTS, ACTS, ACTS, [ACTS]
    return made


@pytest.fixture(scope="module")
def hostile(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """A group whose topics hold nothing but what is meant to harm who looks at it."""
    setup = Setup(kafka, partitions=1)
    setup.create()
    event = {"id": ACTS, "status": "busy", "direction": "inbound", "from": PHONE, "to": PHONE, "price": ACTS}
    produce(
        kafka,
        setup.calls,
        [
            Record(json.dumps(event).encode(), ACTS.encode(), NOW, ((ACTS, ACTS.encode()),)),
            Record(
                json.dumps(event | {"status": ACTS}).encode(), ACTS.encode(), NOW, ((ACTS, ACTS.encode()),)
            ),
            Record(b"{" + ACTS.encode(), ACTS.encode(), NOW, (("content-type", ACTS.encode()),)),
        ],
    )
    run_until_caught_up(setup, tmp_path_factory.mktemp("hostile") / "log")
    said = dead_headers(((ACTS, ACTS.encode()),), Rejected("failed", MESSAGE, ACTS), ACTS, 0, 9, NOW)
    produce(kafka, setup.topic("dead"), [Record(b"{}", ACTS.encode(), NOW, said)])
    produce(kafka, setup.topic("completed"), [Record(encode_completed(call(ACTS)), ACTS.encode(), NOW)])
    return setup


def name(args: list[str]) -> str:
    """How a test of a command is called."""
    return " ".join(args[:2])


COMMANDS = [
    ["dead", "list"],
    ["dead", "show", "0:0"],
    ["dead", "show", "0:3"],
    ["dead", "redrive", "--reason", "schema", "--dry-run"],
    ["dead", "redrive", "0:3"],  # its topic does not exist: the message names it
    ["completed", "get", ACTS],
    ["completed", "tail"],
    ["replay", "--compare"],
    ["status"],
    ["topics", "check"],
    ["settings"],
]


@pytest.mark.kafka
@pytest.mark.parametrize("args", COMMANDS, ids=name)
def test_every_command_is_calm_in_a_pipe_and_on_a_terminal(hostile: Setup, args: list[str]) -> None:
    piped = CliRunner().invoke(main, args, env=hostile.env())
    assert calm(piped.output), piped.output
    assert "Traceback" not in piped.output
    assert piped.exit_code == 0 or piped.stderr.startswith("error: ")
    if args[0] in ("dead", "completed") and "--dry-run" not in args:
        assert r"\x1b" in piped.output
    shown = OURS.sub("", terminal(hostile, args, "stdout")).replace("\r\n", "\n")
    assert calm(shown), shown


@pytest.mark.kafka
@pytest.mark.parametrize("args", [each for each in COMMANDS if each[0] != "topics"], ids=name)
def test_json_stays_exact(hostile: Setup, args: list[str]) -> None:
    done = CliRunner().invoke(main, [*args, "--json"], env=hostile.env())
    found = [json.loads(line) for line in done.stdout.split("\n") if line]
    if args[0] == "completed":
        assert found[-1]["price"] == ACTS
    if args[:2] == ["dead", "list"]:
        assert found[-1]["message"] == MESSAGE


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["dead", "list", "--limit", "5"], "dead letters"),
        (["dead", "redrive", "--reason", "schema", "--limit", "1"], "dead letters"),
        (["dead", "list"], "dead letters"),
        (["dead", "redrive", "--all", "--dry-run"], "dead letters"),
        (["completed", "get", "nobody"], "completed calls"),
        (["completed", "tail"], "completed calls"),
        (["status", "--recount"], "state"),
        (["replay", "--compare"], "replay"),
    ],
    ids=lambda given: name(given) if isinstance(given, list) else "",
)
def test_long_work_shows_progress_on_a_terminal(hostile: Setup, args: list[str], what: str) -> None:
    assert re.search(rf"{what} .*\d+/\d+", OURS.sub("", terminal(hostile, args, "stderr")))


def terminal(setup: Setup, args: list[str], stream: str) -> str:
    """What the command writes to a stream of its own that is a terminal."""
    ours, theirs = pty.openpty()
    output = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(ours, 65536):
                output.extend(chunk)
        except OSError:  # the other side has closed it
            return

    reading = threading.Thread(target=read)
    reading.start()
    with os.fdopen(theirs, "wb") as end:
        subprocess.run(
            [sys.executable, "-m", "streams", *args],
            env=setup.env() | {"TERM": "xterm", "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            timeout=60,
            **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | {stream: end},
        )
    reading.join(10)
    os.close(ours)
    return output.decode()


# -- commands that need no Kafka


def test_validate_is_calm(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    document = {ACTS: ACTS, "id": ACTS, "status": ACTS, "direction": ACTS, "from": ACTS, "to": ACTS}
    lines.write_bytes(
        json.dumps(document).encode()
        + b"\n{\x1b[2J\n"
        + json.dumps({"id": ACTS, ACTS: [[]]}).encode()
        + b"\n"
    )
    done = CliRunner().invoke(main, ["validate", str(lines)])
    assert calm(done.output), done.output
    done = CliRunner().invoke(main, ["validate", str(lines), "--json"])
    assert [json.loads(line)["valid"] for line in done.stdout.splitlines()] == [False] * 3


class Impostor(BaseHTTPRequestHandler):
    """Answers as no worker would."""

    def do_GET(self) -> None:
        one = {
            "id": ACTS,
            "status": ACTS,
            "opened_at": instant(NOW),
            "last_event_at": ACTS,
            "due_at": ACTS,
            ACTS: {ACTS: ACTS},
        }
        if self.path.startswith("/calls/refused"):
            self._answer(503, {"detail": ACTS})
        elif self.path.startswith("/calls/"):
            self._answer(200, one)
        else:
            self._answer(200, {"calls": [one], "total": 2, "problems": [ACTS], "partitions": [ACTS]})

    def _answer(self, status: int, document: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(msgspec.json.encode(document))

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def impostor() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Impostor) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def ask(url: str, *args: str) -> Result:
    return CliRunner().invoke(main, ["calls", *args, "--url", url])


@pytest.mark.parametrize("args", [["get", ACTS], ["get", "refused"], ["open"]], ids=lambda args: args[0])
def test_what_a_worker_answers_is_not_trusted(impostor: str, args: list[str]) -> None:
    shown = ask(impostor, *args)
    assert calm(shown.output), shown.output
    assert "owned" in shown.output
    in_json = ask(impostor, *args, "--json")
    for line in in_json.stdout.strip("\n").split("\n"):
        assert not line or json.loads(line)["id"] == ACTS


def test_an_id_that_is_not_utf_8_is_asked_for_as_it_is(impostor: str) -> None:
    assert ask(impostor, "get", os.fsdecode(b"\xff")).exit_code == 0
