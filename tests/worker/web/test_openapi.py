"""The OpenAPI document, held against what the worker answers to whatever it allows."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from support.pages import Site, site
from test_access import OPEN_TO_ALL
from test_call_page import ID, LIFE, Holder

from streams.calls.view import OpenPage, OpenSelection, describe
from streams.worker.web import published
from streams.worker.web.openapi import ROUTES, document

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))
TOKEN = "right"
DOCUMENT = json.loads(msgspec.json.encode(document()))
#: Served to browsers only.
ASSETS = {path for path in OPEN_TO_ALL if path == "/" or path.endswith((".css", ".js", ".svg"))}


class Full(Holder):
    """Lists its open call as a worker does."""

    async def open_calls(self, _: OpenSelection, limit: int) -> OpenPage:  # noqa: ARG002
        call = describe(self.calls, "open")
        return OpenPage([] if call is None else [call], [1, 0, 0, 0, 0, 0, 0])


@pytest.fixture(scope="module")
def served() -> Iterator[Site]:
    """A worker with an open and a closed call, and rejected records; one has all of its value."""
    holder = Full().apply(*LIFE)
    holder.id = "open"
    holder.apply(*LIFE[:2])
    holder.publish(b"gone", None, 0)
    holder.reject(ID.encode(), "schema", "no status")
    content = {"kind": "text", "content": "x", "cut": False}
    place = {"partition": 0, "offset": 0, "at": None, "event_at": None}
    origin = {"topic": "calls", "partition": 0, "offset": 0}
    holder.topics.ones[0, 0] = place | {
        "reason": "schema", "message": "no status", "path": None, "origin": origin, "key": None, "gone": False,
        "too_large": False,
        "headers": [{"name": "x", "value": None}], "value": content, "value_bytes": 1, "redriven": False,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "Topics", holder.topics)
        with site(holder, api_token=TOKEN) as made:
            yield made


def get(where: Site, path: str, token: str | None = TOKEN) -> tuple[int, str, bytes]:
    """Status, media type and body; of a stream nothing."""
    connection = http.client.HTTPConnection(where.url.removeprefix("http://"), timeout=10)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    kind = answer.headers.get_content_type()
    body = b"" if kind == "text/event-stream" else answer.read()
    connection.close()
    return answer.status, kind, body


def held_against(path: str, status: int, kind: str, body: bytes) -> None:
    """The answer is one that the document tells of."""
    content = DOCUMENT["paths"][path]["get"]["responses"][str(status)]["content"]
    assert kind in content, (path, status, kind)
    if kind.endswith("json"):
        schema = content[kind]["schema"] | {"components": DOCUMENT["components"]}
        Draft202012Validator(schema).validate(json.loads(body))


def test_every_route_is_told_of_and_no_other(served: Site) -> None:
    routes = served._server._runner.app.router.routes()
    paths = {route.resource.canonical for route in routes if route.resource is not None}
    assert paths - ASSETS == ROUTES.keys()
    status, kind, body = get(served, "/openapi.json", token=None)
    assert (status, kind, json.loads(body)) == (200, "application/json", DOCUMENT)
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", ["/calls/open", f"/calls/{ID}", "/calls/nobody", f"/completed/{ID}", "/completed/gone",
                                  "/dead", "/dead/0:0", "/dead/0:9", "/kpis", "/calls", "/status"])  # fmt: skip
@pytest.mark.parametrize("token", [TOKEN, None])
def test_what_there_is_and_is_not(served: Site, path: str, token: str | None) -> None:
    status, kind, body = get(served, path, token)
    name = path.replace("0:0", "{partition}:{offset}").replace("0:9", "{partition}:{offset}")
    for id_ in ("open", ID, "nobody", "gone"):
        name = name.replace(f"/{id_}", "/{id}")
    assert status == (
        401 if token is None and path != "/status" else 404 if "nobody" in path or "0:9" in path else 200
    )
    held_against(name, status, kind, body)


def values(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    """What a parameter's schema allows."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    if schema["type"] == "integer":
        return st.integers(schema["minimum"], schema["maximum"]).map(str)
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
    return st.sampled_from([ID, "open"]) | st.text(min_size=schema.get("minLength", 0), max_size=40)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str]:
    """A path of the document, and a request for it that the document allows."""
    name = draw(st.sampled_from(sorted(DOCUMENT["paths"])))
    path, query = name, list[tuple[str, str]]()
    for each in DOCUMENT["paths"][name]["get"]["parameters"]:
        schema = each["schema"]
        if each["in"] == "path":
            value = draw(values(schema).filter(lambda text: text not in (".", "..")))
            path = path.replace(f"{{{each['name']}}}", quote(value, safe=""))
        elif schema.get("type") == "array":
            query += [(each["name"], value) for value in draw(st.lists(values(schema["items"]), max_size=3))]
        elif draw(st.booleans()):
            query.append((each["name"], draw(values(schema))))
    return name, f"{path}?{urlencode(query)}" if query else path


@settings(max_examples=10 * EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests(), st.sampled_from([TOKEN, TOKEN, "wrong", None]))
def test_whatever_is_allowed_is_answered_as_told(
    served: Site, request: tuple[str, str], token: str | None
) -> None:
    name, path = request
    status, kind, body = get(served, path, token)
    assert status != 400, (path, body)
    held_against(name, status, kind, body)


def not_allowed(schema: dict[str, Any]) -> list[str]:
    """What a parameter's schema rules out."""
    if "enum" in schema:
        return ["", "none", schema["enum"][0].upper()]
    if schema["type"] == "integer":
        return ["", "x", "-1", "1.0", "²", str(schema["maximum"] + 1), str(10**30)]
    if "pattern" in schema:
        return ["", "!", "²²", "FRA\n", "1" * 40]
    return ["", "noon", "2026-11-25T00:00:00"] if schema.get("format") == "date-time" else []


@pytest.mark.parametrize("name", sorted(DOCUMENT["paths"]))
def test_what_is_not_allowed_is_refused(served: Site, name: str) -> None:
    path = name.replace("{id}", ID).replace("{partition}:{offset}", "0:0")
    for each in DOCUMENT["paths"][name]["get"]["parameters"]:
        schema = each["schema"].get("items", each["schema"])
        for value in not_allowed(schema) if each["in"] == "query" else ():
            asked = f"{path}?{urlencode([(each['name'], value)])}"
            status, kind, body = get(served, asked)
            assert status == 400, asked
            held_against(name, status, kind, body)
