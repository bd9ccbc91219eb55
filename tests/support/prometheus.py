"""A real Prometheus that scrapes one worker, with the rules of k8s/monitoring at another pace."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from monitoring.expressions import RULES
from support.worker import wait_for

_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(?<![\w:])(\d+)([smhd])\b")
#: Thresholds in seconds, as in the rules.
_SECONDS = re.compile(r"(> (?:time\(\) - )?)(60|300)\b")


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def faster(times: int) -> str:
    """The rules, with all windows, patience and thresholds in seconds shorter by this factor."""

    def shorter(found: re.Match[str]) -> str:
        return f"{int(found[1]) * _UNITS[found[2]] // times}ms"

    rules = yaml.safe_load(RULES.read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        expression = _DURATION.sub(shorter, rule["expr"])
        rule["expr"] = _SECONDS.sub(lambda found: f"{found[1]}{int(found[2]) / times:g}", expression)
        if "for" in rule:
            rule["for"] = _DURATION.sub(shorter, rule["for"])
    return str(yaml.safe_dump(rules))


class Prometheus:
    """Scrapes `target` (host:port) every second as the job telefonie; a context manager."""

    def __init__(self, folder: Path, target: str, rules: str) -> None:
        folder.mkdir()
        (folder / "rules.yml").write_text(rules)
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "telefonie", "static_configs": [{"targets": [target]}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._folder, self._port = folder, free_port()

    def __enter__(self) -> Prometheus:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._folder}/prometheus.yml",
                    f"--storage.tsdb.path={self._folder}/data",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdout=log,
                stderr=log,
            )
        wait_for("Prometheus answers", self._ready, 30, every=0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)

    def _ready(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that it gives now; fails when Prometheus refuses it."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        return {
            each["labels"]["alertname"] for each in self._get("alerts")["alerts"] if each["state"] == "firing"
        }

    def faulty_rules(self) -> dict[str, str]:
        """Rules that could not be evaluated the last time, and why."""
        rules = [rule for group in self._get("rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] == "err"}

    def target(self) -> dict[str, Any]:
        """What it thinks of the worker."""
        (target,) = self._get("targets")["activeTargets"]
        assert isinstance(target, dict)
        return target
