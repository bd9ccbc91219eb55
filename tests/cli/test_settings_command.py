"""`telefonie settings`, and the document that is generated from it."""

import json
from pathlib import Path

from click.testing import CliRunner

from streams.cli import main
from streams.settings import TABLE

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def test_json_has_every_setting_and_no_secret() -> None:
    env = {"TELEFONIE_CALL_TIMEOUT": "2h", "TELEFONIE_API_TOKEN": "hush"}
    result = CliRunner().invoke(main, ["settings", "--json"], env=env)
    rows = {row["name"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert list(rows) == [setting.variable for setting in TABLE]
    assert rows["TELEFONIE_CALL_TIMEOUT"]["value"] == "2h"
    assert rows["TELEFONIE_CALL_TIMEOUT"]["default"] == "6h"
    assert rows["TELEFONIE_API_TOKEN"]["value"] == "(hidden)"
    assert rows["TELEFONIE_SASL_PASSWORD"]["value"] == ""
    assert "hush" not in result.output


def test_outside_of_a_terminal_columns_are_separated_by_tabs() -> None:
    result = CliRunner().invoke(main, ["settings"])
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert {len(row) for row in rows} == {5}
    assert ["TELEFONIE_NULLS", "reject", "reject"] in [row[:3] for row in rows]


def test_the_document_is_current() -> None:
    result = CliRunner().invoke(main, ["settings", "--markdown"])
    assert DOCUMENT.read_text() == result.stdout, "run: telefonie settings --markdown > docs/settings.md"
