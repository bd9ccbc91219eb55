"""The AsyncAPI document: complete, free of dangling references, and true of real records."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from call_documents import FULL, REQUIRED
from click.testing import CliRunner

from streams.calls.partition import CallsPartition, Rules
from streams.cli import main
from streams.codecs import REASONS


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    result = CliRunner().invoke(main, ["schema", "asyncapi"], env={"TELEFONIE_KPIS_TOPIC": "kpis.of.ours"})
    assert result.exit_code == 0
    return json.loads(result.stdout)


def nodes(value: Any) -> Iterator[Any]:
    yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(each)


def validator(document: dict[str, Any], name: str) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    )


def test_all_four_topics_are_there_under_their_names(document: dict[str, Any]) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert {name: each["address"] for name, each in document["channels"].items()} == {
        "calls": "telefonie.calls",
        "completed": "telefonie.calls.completed",
        "kpis": "kpis.of.ours",
        "dead": "telefonie.calls.dead",
    }
    assert {each["action"]: each["channel"] for each in document["operations"].values()}["receive"] == {
        "$ref": "#/channels/calls"
    }


OFFICIAL = """
const { Parser } = require("@asyncapi/parser");
new Parser().parse(require("fs").readFileSync(0, "utf8")).then(({ document, diagnostics }) => {
  const grave = diagnostics.filter((each) => each.severity < 2);
  const faults = grave.map((each) => `${each.path.join(".")}: ${each.message}`);
  console.log(JSON.stringify({ channels: document?.channels().all().length, faults }));
});
"""


def test_the_official_validator_finds_no_fault(document: dict[str, Any]) -> None:
    node = shutil.which("node")
    if (
        node is None
        or subprocess.run([node, "-e", 'require("@asyncapi/parser")'], capture_output=True).returncode
    ):
        pytest.skip("needs Node.js, and @asyncapi/parser on NODE_PATH")

    def validated(given: dict[str, Any]) -> dict[str, Any]:
        done = subprocess.run(
            [node, "-e", OFFICIAL],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    assert validated(document) == {"channels": 4, "faults": []}
    assert validated(document | {"channels": {"calls": {"bogus": 1}}})["faults"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = [each["$ref"] for each in nodes(document) if isinstance(each, dict) and "$ref" in each]
    assert len(references) > 10
    for reference in references:
        found: Any = document
        for part in re.fullmatch(r"#/(.+)", reference)[1].split("/"):  # type: ignore[index]
            found = found[part]


def test_the_schemas_are_of_draft_07_and_true_of_real_records(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)
    partition = CallsPartition(Rules(), 0)
    values = [json.dumps(FULL).encode(), b"{}"]
    partition.process([(n, n * 120_000, None, value, []) for n, value in enumerate(values)], 0)
    outputs = partition.checkpoint().outputs
    for kind, name in (("completed", "CompletedCall"), ("kpis", "KpiWindow")):
        [(_, value, *_)] = outputs[kind]
        validator(document, name).validate(json.loads(value))
        with pytest.raises(jsonschema.ValidationError):
            validator(document, name).validate(REQUIRED)
    [(*_, headers)] = outputs["dead"]
    said = document["components"]["messages"]["dead"]["headers"]
    assert said["properties"]["dead-reason"]["enum"] == list(REASONS)
    jsonschema.Draft7Validator(said).validate({name: value.decode() for name, value in headers})
