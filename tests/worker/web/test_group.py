"""Several workers' web servers, with made-up calls behind: any of them answers for all, or says why it cannot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from test_calls_api import TOKEN, Worker

from streams.engine.members import Member, MembersUnknownError
from streams.settings import Settings
from streams.worker.metrics import Metrics
from streams.worker.web import WebServer
from streams.worker.web.calls import partition_of
from streams.worker.web.group import MEMBER, Group, advertised

PARTITIONS = {"one": [0, 2], "two": [1], "three": [3]}


@dataclass
class Site:
    """Three workers, each with a call of its name."""

    workers: dict[str, Worker]
    servers: dict[str, WebServer]
    client: aiohttp.ClientSession
    settings: Settings

    def members(self) -> list[Member]:
        """The group, as its coordinator has it."""
        return [Member(name, self.servers[name].address, PARTITIONS[name]) for name in self.workers]

    def group(self, *members: Member) -> None:
        """What every worker knows about the group."""
        for worker in self.workers.values():
            worker.group = list(members)

    async def ask(
        self, name: str, path: str, headers: dict[str, str] | None = None
    ) -> tuple[aiohttp.ClientResponse, Any]:
        """Ask one of them."""
        token = self.settings.api_token
        said = headers or ({"Authorization": f"Bearer {token}"} if token else {})
        async with self.client.get(self.servers[name].address + path, headers=said) as response:
            return response, await response.json(content_type=None)


def serve(scene: Callable[[Site], Awaitable[None]], **values: object) -> None:
    async def run() -> None:
        settings = Settings(http_port=0, **values)  # type: ignore[arg-type]
        async with AsyncExitStack() as running:
            client = await running.enter_async_context(aiohttp.ClientSession())
            site = Site({}, {}, client, settings)
            for n, (name, partitions) in enumerate(PARTITIONS.items()):
                worker = Worker(partitions=partitions, member_id=name, id=name, total=n + 1)
                server = WebServer(settings, Metrics(settings), worker, worker)
                await server.start()
                running.push_async_callback(server.stop)
                site.workers[name], site.servers[name] = worker, server
            site.group(*site.members())
            await scene(site)

    asyncio.run(run())


@pytest.mark.parametrize("token", [None, TOKEN])
def test_any_worker_tells_of_any_call(token: str | None) -> None:
    async def scene(site: Site) -> None:
        for name in PARTITIONS:
            for call_id in ("one", "two", "three"):
                response, call = await site.ask(name, f"/calls/{call_id}")
                assert (response.status, call["id"]) == (200, call_id)
            response, problem = await site.ask(name, "/calls/nobody%2Fa%20b")
            assert (response.status, problem["partitions"], problem["of"]) == (404, [0, 1, 2, 3], 4)

    serve(scene, api_token=token)


def test_an_id_of_any_kind_comes_whole_to_the_other_worker() -> None:
    async def scene(site: Site) -> None:
        site.workers["two"].id = "a?b=c/d%2F#e"
        response, call = await site.ask("one", "/calls/a%3Fb%3Dc%2Fd%252F%23e")
        assert (response.status, call["id"]) == (200, "a?b=c/d%2F#e")

    serve(scene)


def test_a_worker_that_is_not_certain_asks_the_others_about_its_own_partitions_too() -> None:
    async def scene(site: Site) -> None:
        one = site.workers["one"]
        one.partitions, one.reasons = [0, 1, 2, 3], ["a rebalance is under way"]
        assert (await site.ask("one", "/calls/two"))[1]["id"] == "two"

    serve(scene)


def test_open_calls_are_merged_oldest_first() -> None:
    async def scene(site: Site) -> None:
        for name in PARTITIONS:
            _, found = await site.ask(name, "/calls?limit=2&status=ringing&status=queued")
            assert [call["id"] for call in found["calls"]] == ["two", "one"]
            assert (found["total"], found["partitions"], found["problems"]) == (6, [0, 1, 2, 3], [])
            assert found["ages"][0] == {"up_to_seconds": 60, "calls": 0}
            assert found["ages"][-1] == {"up_to_seconds": None, "calls": 6}
        selections = [selection.statuses for selection, _ in site.workers["two"].asked]
        assert set(selections) == {frozenset({"ringing", "queued"})}

    serve(scene)


def test_the_owner_of_the_key_is_asked_first_and_nobody_else_if_it_knows() -> None:
    async def scene(site: Site) -> None:
        owner = next(name for name, numbers in PARTITIONS.items() if partition_of("a/b ☎", 4) in numbers)
        asker = next(name for name in PARTITIONS if name != owner)
        other = next(name for name in PARTITIONS if name not in (owner, asker))
        site.workers[asker].id = site.workers[other].id = "-"
        site.workers[other].call = site.workers[asker].call = lambda _: None  # type: ignore[method-assign]
        await site.servers[other].stop()
        assert (await site.ask(asker, "/calls/a%2Fb%20%E2%98%8E"))[0].status == 200
        response, problem = await site.ask(asker, "/calls/nobody")
        assert (response.status, response.headers["Retry-After"]) == (503, "2")
        assert f"the partitions {PARTITIONS[other]} at http://127.0.0.1" in problem["detail"]
        assert "does not answer" in problem["detail"]

    serve(scene)


def test_the_partition_is_that_of_kafkas_own_producers() -> None:
    hashes = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}
    for key, murmur2 in hashes.items():
        assert partition_of(key, 1_000) == (murmur2 & 0x7FFFFFFF) % 1_000
    assert 0 <= partition_of("\ud800", 4) < 4


@pytest.mark.parametrize("asker", ["one", "two"])
def test_while_a_worker_is_not_certain_nothing_is_said_to_be_nowhere(asker: str) -> None:
    async def scene(site: Site) -> None:
        site.workers["two"].reasons = ["restoring the state of partitions [1]"]
        assert (await site.ask(asker, "/calls/one"))[1]["id"] == "one"
        for call_id in ("two", "nobody"):
            response, problem = await site.ask(asker, f"/calls/{call_id}")
            assert (response.status, response.headers["Retry-After"]) == (503, "2")
            assert "restoring the state of partitions [1]" in problem["detail"]
        response, found = await site.ask(asker, "/calls")
        assert (response.status, found["partitions"], found["total"]) == (200, [0, 2, 3], 4)
        assert "restoring" in found["problems"][0]
        _, status = await site.ask("one", "/status")
        assert len(status["others"]) == 2

    serve(scene)


def test_partitions_that_moved_between_two_answers_are_not_counted_twice() -> None:
    async def scene(site: Site) -> None:
        site.workers["three"].partitions = [1, 3]
        _, found = await site.ask("one", "/calls")
        assert found["problems"] == ["partitions have moved meanwhile"]
        assert found["total"] == 3

    serve(scene)


def test_an_address_that_leads_to_another_worker_is_noticed() -> None:
    async def scene(site: Site) -> None:
        one, two, three = site.members()
        site.group(one, two._replace(address=one.address), three)
        response, problem = await site.ask("one", "/calls/two")
        assert response.status == 503
        assert "TELEFONIE_HTTP_ADVERTISE" in problem["detail"]
        response, _ = await site.ask("one", "/calls/one", {MEMBER: "two"})
        assert response.status == 421

    serve(scene)


def test_a_request_for_one_worker_goes_no_further() -> None:
    async def scene(site: Site) -> None:
        response, problem = await site.ask("one", "/calls/two", {MEMBER: "one"})
        assert (response.status, problem["partitions"], problem["of"]) == (404, [0, 2], 4)
        assert (await site.ask("one", "/calls", {MEMBER: "one"}))[1]["partitions"] == [0, 2]
        assert "others" not in (await site.ask("one", "/status", {MEMBER: "one"}))[1]
        assert not site.workers["two"].asked

    serve(scene)


@pytest.mark.parametrize(
    ("answer", "body", "said"),
    [
        ("HTTP/1.1 401 x", "<", "another TELEFONIE_API_TOKEN"),
        ("HTTP/1.1 403 x", "<", "need the same TELEFONIE_API_TOKEN"),
        ("HTTP/1.1 404 x", "<", "is no worker"),
        ("HTTP/1.1 404 x", '{"detail": "nothing here"}', "is no worker"),
        ("HTTP/1.1 302 x\r\nLocation: /calls/two", "<", "answers 302"),
        ("HTTP/1.1 200 x", "<", "answers 200"),
        ("garbage", "<", "does not answer"),
    ],
)
def test_what_is_wrong_with_another_worker_is_said(answer: str, body: str, said: str) -> None:
    async def scene(site: Site) -> None:
        asked = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(f"{answer}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            writer.close()

        async with await asyncio.start_server(talk, "127.0.0.1", 0) as other:
            address = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}"
            one, two, three = site.members()
            site.group(one, two._replace(address=address), three)
            response, problem = await site.ask("one", "/calls/nobody")
        assert (response.status, response.headers["Retry-After"]) == (503, "2")
        assert said in problem["detail"]
        assert len(asked) == 1

    serve(scene)


def test_brokers_that_do_not_say_who_is_in_the_group_are_given_up_in_time() -> None:
    class Silence:
        async def members(self) -> tuple[str, list[Member]]:
            await asyncio.sleep(60)
            return "", []

    with pytest.raises(MembersUnknownError, match="the brokers do not say who is in the group"):
        asyncio.run(Group(Settings(), Silence()).others(0.05))


def test_a_member_without_an_address_is_named() -> None:
    async def scene(site: Site) -> None:
        for address in ("", "file:///etc/passwd"):
            one, two, three = site.members()
            site.group(one, two._replace(address=address), three)
            response, problem = await site.ask("one", "/calls/nobody")
            assert response.status == 503
            assert "of the partitions [1] does not say where it is" in problem["detail"]
            assert "passwd" not in json.dumps(problem)

    serve(scene)


@pytest.mark.parametrize(
    ("values", "address", "wanted"),
    [
        ({}, "http://127.0.0.1:6066", "http://127.0.0.1:6066"),
        ({}, "http://[::1]:6066", "http://[::1]:6066"),
        ({"http_advertise": "http://w-0.example.com:80"}, "http://0.0.0.0:6066", "http://w-0.example.com:80"),
        ({"brokers": "127.0.0.1:9092"}, "http://0.0.0.0:7", "http://127.0.0.1:7"),
        ({"brokers": "127.0.0.1:9092,x:1"}, "http://[::]:7", "http://127.0.0.1:7"),
        ({"brokers": "127.0.0.1:9092"}, "http://:7", "http://127.0.0.1:7"),
    ],
)
def test_where_others_reach_a_worker(values: dict[str, Any], address: str, wanted: str) -> None:
    assert advertised(Settings(**values), address) == wanted


def test_without_a_way_to_the_brokers_it_is_the_name_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "w-0")
    assert advertised(Settings(brokers="no-such-host.invalid:1"), "http://0.0.0.0:7") == "http://w-0:7"
