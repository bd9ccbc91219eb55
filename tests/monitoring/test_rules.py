"""Alerts and recording rules: they ask for what exists, fire and are silent when they should, and lead somewhere."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitoring.expressions import ALERTS, GROUPS, RECORDED, RULES, RUNBOOK, RUNBOOK_QUERIES, faults

from k8s.monitoring.__main__ import HERE, generated

ROOT = Path(__file__).parents[2]
TESTS = Path(__file__).with_name("telefonie.rules.test.yml")
needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not on the PATH (Debian: apt install prometheus)"
)


def promtool(*arguments: object) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def anchors(document: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    assert f"{len(ALERTS) + len(RECORDED)} rules found" in promtool("check", "rules", RULES)


@needs_promtool
def test_each_alert_fires_and_is_silent_when_it_should() -> None:
    promtool("test", "rules", TESTS)


@needs_promtool
def test_too_few_workers_are_missed(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(RULES.read_text().replace("vector(1)", "vector(3)"))
    labels = '{namespace="prod",job="telefonie",instance="%s"}'
    series = [
        {"series": name + labels % worker, "values": values}
        for worker, values in (("a", "1x40"), ("b", "1x40"), ("c", "_x15 1x25"))
        for name in ("up", "telefonie_build_info")
    ]
    expected = {"exp_labels": {"namespace": "prod", "job": "telefonie", "severity": "warning"}}
    expected["exp_annotations"] = ALERTS["TelefonieWorkersMissing"]["annotations"] | {
        "description": ALERTS["TelefonieWorkersMissing"]["annotations"]["description"].replace(
            "{{ $labels.job }}", "telefonie"
        )
    }
    checks = [
        {"eval_time": "10m", "alertname": "TelefonieWorkersMissing", "exp_alerts": [expected]},
        {"eval_time": "20m", "alertname": "TelefonieWorkersMissing"},
    ]
    case = {"interval": "1m", "input_series": series, "alert_rule_test": checks}
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [case]}))
    promtool("test", "rules", tmp_path / "test.yml")


@pytest.fixture(scope="module")
def scenes() -> list[dict[str, Any]]:
    """The tests that promtool runs."""
    read: list[dict[str, Any]] = yaml.safe_load(TESTS.read_text())["tests"]
    return read


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_tested_both_ways(alert: str, scenes: list[dict[str, Any]]) -> None:
    cases = [
        (bool(check.get("exp_alerts")), test["name"])
        for test in scenes
        for check in test.get("alert_rule_test", ())
        if check["alertname"] == alert
    ]
    assert {fires for fires, _ in cases} == {True, False}
    # Silent in the very series in which it fires, too: before, or after.
    assert {name for fires, name in cases if fires} & {name for fires, name in cases if not fires}


@pytest.mark.parametrize("name", [*ALERTS, *RECORDED])
def test_rules_ask_for_what_there_is(name: str) -> None:
    assert faults((ALERTS | RECORDED)[name]["expr"]) == []


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_what_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert path == "https://example.com/telefonie-streams/docs/runbook.md"
    assert anchor in anchors(RUNBOOK)
    # A summary without variables groups; a description carries labels, none of which is of a call.
    assert "{{" not in rule["annotations"]["summary"]
    used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["description"]))
    assert used <= {"job", "instance", "topic", "partition", "reason"}


def test_the_runbook_has_a_section_for_each_alert_with_every_part() -> None:
    sections = re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    assert [section.splitlines()[0] for section in sections] == list(ALERTS)
    for section in sections:
        name = section.splitlines()[0]
        assert section.splitlines()[2].startswith(ALERTS[name]["labels"]["severity"] + ":")
        parts = re.findall(r"^\*\*(Means|Be sure|Do not|Do)\b", section, re.MULTILINE)
        assert parts == ["Means", "Be sure", "Do", "Do not"], name


def test_the_queries_of_the_runbook_ask_for_what_there_is() -> None:
    assert len(RUNBOOK_QUERIES) > len(ALERTS)
    assert {query: found for query in RUNBOOK_QUERIES if (found := faults(query))} == {}


@pytest.mark.parametrize("document", ["runbook.md", "operations.md"])
def test_links_between_the_documents_lead_somewhere(document: str) -> None:
    source = ROOT / "docs" / document
    for path, _, anchor in (
        link.partition("#") for link in re.findall(r"\]\(((?!http)[^)]+)\)", source.read_text())
    ):
        target = source.parent / path if path else source
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), anchor


def test_what_is_generated_is_current() -> None:
    for name, text in generated().items():
        assert (HERE / name).read_text() == text, "run: make monitoring"
    resource = yaml.safe_load((HERE / "prometheus-rules.yaml").read_text())
    assert (resource["apiVersion"], resource["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert resource["spec"] == {"groups": GROUPS}
