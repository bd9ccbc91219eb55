"""Writes the generated files: `make monitoring`."""

import json
from pathlib import Path
from textwrap import indent
from typing import Final

from k8s.monitoring.dashboard import dashboard

HERE: Final = Path(__file__).parent
_HEAD: Final = """\
# Made from telefonie.rules.yml: make monitoring.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: telefonie
spec:
"""


def prometheus_rule() -> str:
    """telefonie.rules.yml as a resource of the Prometheus operator."""
    rules = (HERE / "telefonie.rules.yml").read_text()
    return _HEAD + indent(rules[rules.index("groups:") :], "  ")


def generated() -> dict[str, str]:
    """Every generated file: its name and its content."""
    return {
        "dashboard.json": json.dumps(dashboard(), indent=2) + "\n",
        "prometheus-rules.yaml": prometheus_rule(),
    }


if __name__ == "__main__":
    for name, text in generated().items():
        (HERE / name).write_text(text)
