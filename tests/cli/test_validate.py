"""`telefonie validate` and `telefonie schema`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.codecs import call_schema

CALL = {"id": "c", "status": "queued", "direction": "inbound", "from": "+4420794600", "to": "+14155550100"}


def line(**changes: object) -> bytes:
    return json.dumps({**CALL, **changes}).encode() + b"\n"


def verdicts(stdin: bytes, *args: str, code: int) -> list[dict[str, object]]:
    result = CliRunner().invoke(main, ["validate", "--json", *args], input=stdin)
    assert result.exit_code == code
    return [json.loads(each) for each in result.stdout.splitlines()]


def test_valid_lines_exit_0() -> None:
    result = CliRunner().invoke(main, ["validate"], input=line() + line(duration=60).rstrip())
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "1: valid\n2: valid\n",
        "2 lines, 0 invalid\n",
    )


def test_each_line_has_its_verdict_in_the_documented_shape() -> None:
    stdin = line() + b"\n" + b"{\n" + line(duration=-1) + line().replace(b"\n", b"\r\n")
    found = verdicts(stdin, code=1)
    assert [list(each) for each in found] == [["line", "valid", "reason", "path", "message"]] * 5
    assert found[0] == {"line": 1, "valid": True, "reason": None, "path": None, "message": None}
    assert [each["reason"] for each in found] == [None, "empty", "malformed", "schema", None]
    assert (found[3]["line"], found[3]["path"]) == (4, "$.duration")


def test_text_names_reason_and_path_but_no_value() -> None:
    result = CliRunner().invoke(main, ["validate"], input=line(**{"from": "0123456789"}))
    assert result.stdout.startswith("1: schema at $.from: ")
    assert "0123456789" not in result.output


@pytest.mark.parametrize(
    ("args", "env", "valid"),
    [
        ((), {}, False),
        ((), {"TELEFONIE_NULLS": "absent"}, True),
        (("--nulls", "absent"), {}, True),
        (("--nulls", "reject"), {"TELEFONIE_NULLS": "absent"}, False),
    ],
)
def test_nulls_go_by_the_option_or_the_setting(
    args: tuple[str, ...], env: dict[str, str], valid: bool
) -> None:
    result = CliRunner().invoke(main, ["validate", *args], input=line(price=None), env=env)
    assert result.exit_code == (0 if valid else 1)


def test_a_file_is_read_as_stdin_is(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_bytes(line())
    assert CliRunner().invoke(main, ["validate", str(file)]).stdout == "1: valid\n"


def test_nothing_is_valid() -> None:
    assert verdicts(b"", code=0) == []


def test_the_schema_is_the_provider_s_own() -> None:
    result = CliRunner().invoke(main, ["schema"])
    assert result.stdout_bytes == call_schema()


@pytest.mark.parametrize("record", ["call", "completed-call", "kpi-window"])
def test_every_schema_is_json(record: str) -> None:
    result = CliRunner().invoke(main, ["schema", record])
    assert json.loads(result.stdout)["type"] == "object"
