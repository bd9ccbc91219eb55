"""docs/records.md: every field is there, every example is valid, and the worked example is what the code produces."""

import json
import re
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import jsonschema
import msgspec
import pytest

from streams.calls.partition import CallsPartition, Rules
from streams.codecs import ANOMALIES, completed_call_schema, kpi_window_schema

DOCUMENT = (Path(__file__).parents[1] / "docs" / "records.md").read_text()


def section(title: str) -> str:
    return DOCUMENT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def block(name: str) -> str:
    return DOCUMENT.partition(f"```{name}\n")[2].partition("\n```")[0]


@pytest.mark.parametrize(
    ("title", "schema"), [("Completed calls", completed_call_schema), ("KPI windows", kpi_window_schema)]
)
def test_every_field_has_a_valid_example(title: str, schema: object) -> None:
    described = msgspec.json.decode(schema())  # type: ignore[operator]
    examples = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", section(title), re.MULTILINE))
    assert examples.keys() == described["properties"].keys()
    document = {name: json.loads(example) for name, example in examples.items()}
    jsonschema.Draft202012Validator(described).validate(document)


def test_every_anomaly_is_explained() -> None:
    found = re.findall(r"^\| `([\w-]+)` \| [^`]*[^|]* \|$", section("Completed calls"), re.MULTILINE)
    assert [name for name in found if name in ANOMALIES] == list(ANOMALIES)


def test_the_worked_example_is_what_the_code_says() -> None:
    partition = CallsPartition(Rules(), 0)
    records = []
    for offset, line in enumerate(block("events").splitlines()):
        moment, _, value = line.partition(" ")
        at = round(datetime.fromisoformat(moment).timestamp() * 1000)
        records.append((offset, at, None, value.encode(), []))
    partition.process(records, records[-1][1])
    outputs = partition.checkpoint().outputs
    assert outputs["completed"][-1][1] == block("completed").encode()
    [(_, window, *_)] = outputs["kpis"]
    assert window == block("kpi").encode()


def test_the_ratios_follow_from_the_window_by_their_definitions() -> None:
    window = json.loads(block("kpi"), parse_float=Fraction, parse_int=Fraction)
    definitions = re.findall(r"^\| (\w+), .+ \| `(.+)` \|$", section("KPI windows"), re.MULTILINE)
    assert [name for name, _ in definitions] == ["ASR", "ACD", "NER"]
    for name, definition in definitions:
        [(sums, result)] = re.findall(rf"^\| {name} \| (.+) = ([\d.]+) \|$", DOCUMENT, re.MULTILINE)
        in_numbers = re.sub(r"[a-z_]+", lambda found: f"Fraction('{window[found[0]]}')", definition)
        assert eval(in_numbers) == Fraction(result)
        assert eval(re.sub(r"[\d.]+", r"Fraction('\g<0>')", sums)) == Fraction(result)
