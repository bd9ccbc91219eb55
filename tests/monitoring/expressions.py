"""The rules, and what a PromQL expression queries, checked against the metrics that exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry, ProcessCollector
from promql_parser import AggregateExpr, BinaryExpr, VectorSelector, parse, walk

from k8s.monitoring.__main__ import HERE
from streams.worker.metrics.table import TABLE

RULES = HERE / "telefonie.rules.yml"
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RECORDED = {rule["record"]: rule for group in GROUPS for rule in group["rules"] if "record" in rule}
RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"
RUNBOOK_QUERIES = [
    line
    for block in re.findall(r"```promql\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)
    for line in block.splitlines()
]

#: Labels that Prometheus or its service discovery add to every series.
TARGET = frozenset({"namespace", "job", "instance"})


def _known() -> dict[str, frozenset[str]]:
    """Every series of a worker: its name, and its labels."""
    series = {"up": TARGET, "ALERTS": TARGET | {"alertname", "alertstate"}}
    for metric in TABLE:
        labels = TARGET | metric.labels.keys()
        if metric.kind == "histogram":
            series |= {metric.name + "_sum": labels, metric.name + "_count": labels}
            series[metric.name + "_bucket"] = labels | {"le"}
        else:
            series[metric.name] = labels
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return series | {sample.name: TARGET for family in registry.collect() for sample in family.samples}


KNOWN = _known()


def faults(expression: str) -> list[str]:
    """Metrics and labels in it that do not exist."""
    found: list[str] = []
    asked: list[VectorSelector] = []
    grouped: set[str] = set()

    def visit(node: object) -> bool:
        if isinstance(node, VectorSelector):
            asked.append(node)
        elif isinstance(node, AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)
        elif isinstance(node, BinaryExpr) and node.modifier and node.modifier.matching:
            grouped.update(node.modifier.matching.labels)
        return True

    walk(parse(expression), visit)
    there: set[str] = set()
    for selector in asked:
        labels = KNOWN.get(selector.name, TARGET | {"direction"} if selector.name in RECORDED else None)
        if labels is None:
            found.append(f"there is no metric {selector.name}")
            continue
        there |= labels
        matched = {matcher.name for matcher in selector.matchers.matchers}
        found += [f"{selector.name} has no label {label}" for label in matched - labels]
    return found + [f"nothing here has a label {label}" for label in grouped - there]
