"""The dashboard asks for what exists, and is what Grafana and its users expect of one."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from monitoring.expressions import faults

from k8s.monitoring.__main__ import HERE
from k8s.monitoring.dashboard import of
from streams.worker.metrics import table as m

DASHBOARD = json.loads((HERE / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
#: Values for Grafana's variables.
VALUES = {"$__rate_interval": "5m", "$__range": "1h", "$namespace": ".*", "$job": ".*"}


def expressions(values: dict[str, str] = VALUES) -> Iterator[tuple[str, str]]:
    """Panel and expression, with values for the variables."""
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in values.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression


def titled(panel: dict[str, Any]) -> str:
    return str(panel["title"])


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_panels_ask_for_what_there_is(title: str, expression: str) -> None:
    assert faults(expression) == [], title
    assert "$" not in expression


def test_every_metric_is_somewhere_on_the_dashboard() -> None:
    shown = " ".join(expression for _, expression in expressions())
    left_out = {metric.name for metric in m.TABLE if not re.search(rf"\b{metric.name}", shown)}
    assert left_out == {m.CALL_TIMEOUT.name}


@pytest.mark.parametrize("panel", PANELS, ids=titled)
def test_a_panel_is_complete(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(references) == len(set(references)) > 0
    for target in panel["targets"]:
        assert panel["type"] == "stat" or target["legendFormat"]
        assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        grouped = re.search(r"\bby \(([^)]*)\)", target["expr"])
        assert labels <= set(grouped[1].split(", ")) if grouped else labels <= {"direction"}


@pytest.mark.parametrize("panel", PANELS, ids=titled)
def test_a_panel_looks_at_the_chosen_workers_and_counters_only_as_rates(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        selectors = re.findall(r"\b[\w:]+{([^}]*)}", target["expr"])
        assert selectors
        for selector in selectors:
            assert 'namespace=~"$namespace",job=~"$job"' in selector or "alertname" in selector
        for counter in re.finditer(r"(\w*)\(telefonie_\w+_(?:total|bucket|sum|count)\b", target["expr"]):
            # What was skipped is counted in the state: the total itself is what there is to see.
            assert counter[1] in {"rate", "increase"} or m.SKIPPED.name in counter[0]


def test_panels_do_not_overlap_and_fill_their_rows() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    lowest = max(y for _, y in taken)
    assert taken == {(x, y) for x in range(24) for y in range(lowest + 1)}
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))


def test_the_variables_are_there() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "job"]
    assert all(each["allValue"] == ".*" for name, each in variables.items() if name != "datasource")


def test_a_label_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KeyError, match="telefonie_call_events_total has no label state"):
        of(m.EVENTS, state="ringing")
