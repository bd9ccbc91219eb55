"""What was published and rejected, over HTTP, from topics of a real Kafka."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
from aiokafka.errors import KafkaConnectionError
from support.kafka import Record, create_topics, produce
from support.pages import PHONE, MadeUpWorker

from streams.calls.times import instant
from streams.codecs import CompletedCall, Rejected, Source, Timeline, dead_headers, encode_completed
from streams.engine.writer import partition_of
from streams.kafka import reading
from streams.settings import Settings
from streams.worker.metrics import Metrics
from streams.worker.web import WebServer, look, published, topics
from streams.worker.web import reader as web_reader
from streams.worker.web.look import Wanted
from streams.worker.web.pace import Pace

pytestmark = pytest.mark.kafka

START = 1_764_041_713_000
ODD = "a/b?c=d%2F#e ☎"
Ask = Callable[[str], Awaitable[tuple[int, Any]]]


def revision(call_id: str, number: int, status: str = "completed") -> bytes:
    """A completed call."""
    call = CompletedCall(
        call_id, status, "inbound", PHONE, PHONE, number, "status", instant(START), Timeline(), False, number,  # type: ignore[arg-type]
        Source("calls", 0, number),
    )  # fmt: skip
    return encode_completed(call)


def rejected(offset: int, key: bytes | None, reason: str = "schema") -> Record:
    """A dead letter, a second later than the one before."""
    headers = [("x", b"\xff"), ("x", None)]
    said = dead_headers(headers, Rejected(reason, "no status", "$"), "calls", 3, offset, START)  # type: ignore[arg-type]
    return Record(b'{"a":1.0}', key, START + offset * 1000, said, partition=offset % 4)


@pytest.fixture(scope="module")
def values(kafka: str) -> dict[str, object]:
    """The settings of a group whose topics hold some calls."""
    names = {f"{kind}_topic": f"test-published.{kind}" for kind in ("completed", "dead")}
    create_topics(kafka, *names.values(), partitions=4, config={"retention.ms": "-1"})

    def keyed(call_id: str, value: bytes | None, at: int, partition: int | None = None) -> Record:
        where = partition_of(call_id.encode(), 4) if partition is None else partition
        return Record(value, call_id.encode(), START + at, (), partition=where)

    produce(
        kafka,
        names["completed_topic"],
        [
            *(keyed("one", revision("one", number), 1000 * number) for number in (1, 2, 3)),
            keyed("one", b"no json", 3500),
            *(keyed(f"other-{n}", revision(f"other-{n}", 1), 4000) for n in range(400)),
            keyed("gone", revision("gone", 1), 5000),
            keyed("gone", None, 6000),
            keyed("moved", revision("moved", 1), 7000, (partition_of(b"moved", 4) + 1) % 4),
            keyed(ODD, revision(ODD, 1, "busy"), 8000),
        ],
    )
    produce(
        kafka,
        names["dead_topic"],
        [
            *(rejected(n, b"one", "empty" if n == 5 else "schema") for n in range(8)),
            rejected(8, b"\xff"),
            rejected(9, None),
        ],
    )
    return {"brokers": kafka, **names}


def serve(values: dict[str, object], scene: Callable[[Ask], Awaitable[None]]) -> None:
    async def run() -> None:
        settings, worker = Settings(http_port=0, **values), MadeUpWorker()  # type: ignore[arg-type]
        server = WebServer(settings, Metrics(settings), worker, worker)
        await server.start()
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(40)) as client:

                async def ask(path: str) -> tuple[int, Any]:
                    async with client.get(server.address + path) as answer:
                        return answer.status, await answer.json(content_type=None)

                await scene(ask)
        finally:
            await server.stop()

    asyncio.run(run())


def test_the_revisions_of_a_call_newest_first(values: dict[str, object]) -> None:
    async def scene(ask: Ask) -> None:
        status, found = await ask("/completed/one")
        assert (status, found["erased"], found["of"]) == (200, None, 4)
        assert [each["call"]["revision"] for each in found["revisions"]] == [3, 2, 1]
        assert found["revisions"][2]["call"] == msgspec.json.decode(revision("one", 1))
        assert found["revisions"][0]["at"] == instant(START + 3000)
        assert found["partitions"] == [partition_of(b"one", 4)]
        _, found = await ask("/completed/" + quote(ODD, safe=""))
        assert [each["call"]["id"] for each in found["revisions"]] == [ODD]

    serve(values, scene)


def test_what_is_not_there_says_where_was_looked(values: dict[str, object]) -> None:
    async def scene(ask: Ask) -> None:
        _, nobody = await ask("/completed/nobody")
        assert (nobody["revisions"], nobody["erased"], nobody["next"]) == ([], None, None)
        assert nobody["back_to"]
        _, gone = await ask("/completed/gone")
        assert gone["erased"]["at"] == instant(START + 6000)
        _, moved = await ask("/completed/moved")
        assert moved["revisions"] == []
        others = [n for n in range(4) if n not in moved["partitions"]]
        _, found = await ask("/completed/moved?" + "&".join(f"partition={n}" for n in others))
        assert len(found["revisions"]) == 1
        _, recent = await ask(f"/completed/one?since={instant(START + 2500)}")
        assert [each["call"]["revision"] for each in recent["revisions"]] == [3]

    serve(values, scene)


def test_a_look_is_bounded_and_goes_on_where_it_ended(
    values: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "_BYTES", 1)
    monkeypatch.setattr(look, "_FIRST_STEP", 7)

    async def scene(ask: Ask) -> None:
        looks, query, revisions = 0, "", []
        while True:
            _, found = await ask("/completed/one" + query)
            looks += 1
            revisions += [each["call"]["revision"] for each in found["revisions"]]
            if found["next"] is None:
                break
            query = f"?before={found['next']}"
        assert (revisions, looks > 5) == ([3, 2, 1], True)

    serve(values, scene)


def test_once_the_first_revision_is_found_nothing_more_is_read(
    values: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "_FIRST_STEP", 3)

    async def scene(ask: Ask) -> None:
        _, found = await ask("/completed/" + quote(ODD, safe=""))
        assert len(found["revisions"]) == 1
        assert found["next"] is not None

    serve(values, scene)


def test_what_is_found_is_bounded_too(values: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "_FOUND_BYTES", 400)

    async def scene(ask: Ask) -> None:
        _, first = await ask("/completed/one")
        assert [each["call"]["revision"] for each in first["revisions"]] == [3, 2][: len(first["revisions"])]
        _, second = await ask(f"/completed/one?before={first['next']}")
        assert second["revisions"][0]["call"]["revision"] == first["revisions"][-1]["call"]["revision"] - 1

    serve(values, scene)


@pytest.mark.parametrize("limit", [1, 3])
def test_pages_of_a_limit_have_every_letter_once(values: dict[str, object], limit: int) -> None:
    async def scene(ask: Ask) -> None:
        found, query = list[int](), ""
        while True:
            _, piece = await ask(f"/dead?limit={limit}{query}")
            assert len(piece["letters"]) <= limit
            found += [each["origin"]["offset"] for each in piece["letters"]]
            if piece["next"] is None:
                break
            reach = [START + 1000 * n for n in range(10) if n not in found]
            assert piece["back_to"] >= instant(max(reach))
            query = f"&before={piece['next']}"
        assert sorted(found) == list(range(10))

    serve(values, scene)


def test_dead_letters_by_key_and_reason(values: dict[str, object]) -> None:
    async def scene(ask: Ask) -> None:
        _, found = await ask("/dead?key=one")
        assert [each["origin"]["offset"] for each in found["letters"]] == [7, 6, 5, 4, 3, 2, 1, 0]
        assert found["partitions"] == [0, 1, 2, 3]
        assert found["letters"][0] == {
            "partition": 3, "offset": 1, "at": instant(START + 7000), "reason": "schema", "message": "no status",
            "path": "$", "origin": {"topic": "calls", "partition": 3, "offset": 7}, "event_at": instant(START),
        }  # fmt: skip
        _, found = await ask("/dead?key=one&reason=empty")
        assert [each["origin"]["offset"] for each in found["letters"]] == [5]
        assert len((await ask("/dead"))[1]["letters"]) == 10
        assert len((await ask("/dead?partition=1"))[1]["letters"]) == 3
        assert len((await ask("/dead?path=$&path=$.to"))[1]["letters"]) == 10
        assert (await ask("/dead?path=$.to"))[1]["letters"] == []

    serve(values, scene)


def test_one_dead_letter_with_what_is_in_it(values: dict[str, object], kafka: str) -> None:
    noted = f"{values['dead_topic']}-redriven"
    create_topics(kafka, noted, partitions=2)
    produce(kafka, noted, [Record(f"{values['dead_topic']}/1/1".encode(), f"calls/3/5@{START}".encode())])

    async def scene(ask: Ask) -> None:
        status, found = await ask("/dead/1:1")
        assert status == 200
        assert (found["reason"], found["origin"]["offset"], found["redriven"], found["gone"]) == (
            "empty",
            5,
            True,
            False,
        )
        assert found["key"] == {"kind": "text", "content": "one", "cut": False}
        assert found["value"] == {"kind": "json", "content": '{\n  "a": 1.0\n}', "cut": False}
        assert found["headers"] == [
            {"name": "x", "value": {"kind": "hex", "content": "ff", "cut": False}},
            {"name": "x", "value": None},
        ]
        _, found = await ask("/dead/0:2")
        assert (found["key"], found["redriven"]) == ({"kind": "hex", "content": "ff", "cut": False}, False)
        assert (await ask("/dead/1:2"))[1]["key"] is None
        for place in ("0:99", "0:3", "9:0"):
            assert (await ask(f"/dead/{place}"))[0] == 404

    serve(values, scene)


#: Digits, names and escapes that reading it would change.
NUMBERS = '{\n  "n": 12345678901234567890.10,\n  "n": "\\u00e9"\n}'


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (None, None),
        (b"", ("text", "", False)),
        (b"hello\x00", ("text", "hello\x00", False)),
        (b"1" * (1 << 20), ("text", "1" * (1 << 20), False)),
        (b"{" * (1 << 21), ("text", "{" * (1 << 20), True)),
        (NUMBERS.replace("\n", "").encode(), ("json", NUMBERS, False)),
        (b"[" * 1000 + b"]" * 1000, ("text", "[" * 1000 + "]" * 1000, False)),
        (b"{not json", ("text", "{not json", False)),
        (b"\x80\x01" * 10_000, ("hex", "8001" * 8192, True)),
    ],
    ids=lambda value: "" if value is None else str(value)[:16],
)  # fmt: skip
def test_bytes_are_shown_as_what_they_are(data: bytes | None, found: tuple[str, str, bool] | None) -> None:
    shown = published._content(data)
    assert (None if shown is None else tuple(shown.values())) == found


def test_a_query_is_understood_or_refused(values: dict[str, object]) -> None:
    async def scene(ask: Ask) -> None:
        for path in (
            "/completed/one?before=x", "/completed/one?before=1:2,", "/completed/one?partition=-1",
            "/completed/one?partition=²", "/completed/one?since=yesterday", "/completed/one?since=2026-11-25",
            "/completed/one?key=x", "/dead?limit=0",
            "/dead?limit=5001", "/dead?reason=none", "/dead?since=-9999999-01-01T00:00:00Z",
        ):  # fmt: skip
            status, problem = await ask(path)
            assert (status, bool(problem["detail"])) == (400, True), path
        status, problem = await ask("/completed/one?partition=9")
        assert (status, "no partition 9" in problem["detail"]) == (404, True)
        assert (await ask("/completed/one?before=9:1"))[0] == 404
        assert (await ask("/completed/%ed%a0%80"))[1]["revisions"] == []

    serve(values, scene)


def test_a_topic_that_cannot_be_read_is_named(values: dict[str, object]) -> None:
    async def scene(ask: Ask) -> None:
        status, problem = await ask("/dead")
        assert (status, "topic no-such-topic " in problem["detail"]) == (503, True)

    serve(values | {"dead_topic": "no-such-topic"}, scene)


@pytest.fixture
def rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks rest, as beside a busy worker: who asks meanwhile has to wait."""
    monkeypatch.setattr(Pace, "rest", lambda _: 0.5)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many looks were under way when one began, for each that has begun."""
    running: list[int] = []
    seen: list[int] = []
    real = Wanted.look

    async def look(wanted: Any, *shared: Any) -> Any:
        running.append(1)
        seen.append(len(running))
        try:
            return await real(wanted, *shared)
        finally:
            running.pop()

    monkeypatch.setattr(Wanted, "look", look)
    return seen


@pytest.mark.usefixtures("rest")
def test_one_looks_at_a_time_and_so_many_wait(
    values: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "_WAITING", 3)
    seen = counted(monkeypatch)

    async def scene(ask: Ask) -> None:
        answers = await asyncio.gather(*(ask("/completed/one") for _ in range(6)))
        assert sorted(status for status, _ in answers) == [200, 200, 200, 503, 503, 503]
        assert seen == [1, 1, 1]

    serve(values, scene)


@pytest.mark.usefixtures("rest")
def test_looks_that_have_waited_share_what_is_read(
    values: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    real = reading.read

    def read(consumer: Any, ranges: Any) -> Any:
        reads.append(len(ranges))
        return real(consumer, ranges)

    monkeypatch.setattr(look.reading, "read", read)

    async def scene(ask: Ask) -> None:
        paths = ("/dead", "/dead?key=one", "/dead?partition=1", "/dead?limit=5", "/dead?reason=empty")
        found = [len(each["letters"]) for _, each in await asyncio.gather(*map(ask, paths))]
        assert found == [10, 8, 3, 5, 1]
        assert [n for n in reads if n] == [4], "each partition is read once"
        alone = [len((await ask(path))[1]["letters"]) for path in paths]
        assert alone == found

    serve(values, scene)


@pytest.mark.usefixtures("rest")
def test_who_waits_too_long_is_told_so(values: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_WAIT_SECONDS", 0.1)

    async def scene(ask: Ask) -> None:
        status, problem = await ask("/dead")
        assert (status, "not this request's turn" in problem["detail"]) == (503, True)

    serve(values, scene)


@pytest.mark.usefixtures("rest")
def test_nobody_looks_for_a_client_that_is_gone(
    values: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = counted(monkeypatch)

    async def scene(ask: Ask) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask("/dead"), 0.1)
        assert (await ask("/dead"))[0] == 200
        assert len(seen) == 1

    serve(values, scene)


def test_the_consumer_is_kept_for_a_while_and_not_after_a_failure(
    values: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    real = reading.reader

    def reader(settings: Any, **options: Any) -> Any:
        made.append(options)
        return real(settings, **options)

    monkeypatch.setattr(reading, "reader", reader)
    monkeypatch.setattr(web_reader, "_IDLE", 1.0)

    def threads() -> int:
        return sum(each.name == "pages" for each in threading.enumerate())

    async def scene(ask: Ask) -> None:
        for path in ("/dead", "/dead/0:0", "/completed/one", "/completed/one?partition=9"):
            await ask(path)
        assert (len(made), threads()) == (1, 1)
        monkeypatch.setattr(Wanted, "look", failing)
        assert (await ask("/dead"))[0] == 503
        monkeypatch.undo()
        monkeypatch.setattr(reading, "reader", reader)
        assert (await ask("/dead"))[0] == 200
        assert len(made) == 2

    async def failing(*_: Any) -> Any:
        raise KafkaConnectionError("gone")

    serve(values, scene)
    assert threads() == 0


def test_the_consumer_is_closed_when_nobody_looks(
    values: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_reader, "_IDLE", 0.1)

    async def scene(ask: Ask) -> None:
        assert (await ask("/dead"))[0] == 200
        for thread in [each for each in threading.enumerate() if each.name == "pages"]:
            await asyncio.to_thread(thread.join, 10)
            assert not thread.is_alive()
        assert (await ask("/dead"))[0] == 200

    serve(values, scene)


def test_a_server_that_stops_lets_go_of_a_look_that_is_under_way(
    values: dict[str, object], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun = threading.Event()

    async def endless(*_: Any) -> Any:
        begun.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(Wanted, "look", endless)

    async def scene(ask: Ask) -> None:
        asking.append(asyncio.ensure_future(ask("/dead")))
        assert await asyncio.to_thread(begun.wait, 10)

    asking: list[Any] = []
    serve(values, scene)
    assert not any(each.name == "pages" for each in threading.enumerate())
    gc.collect()
    assert caplog.text == "", "no task is destroyed that has not ended"
    assert asking[0].cancelled() or asking[0].exception() is not None
