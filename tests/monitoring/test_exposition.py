"""The page of metrics of a real worker on a real Kafka."""

import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from support.load import produce_calls
from support.worker import Setup, Worker, wait_for

from streams.worker.metrics.table import REFUNDS, TABLE

pytestmark = pytest.mark.kafka


def page(worker: Worker, accept: str) -> str:
    request = urllib.request.Request(f"{worker.url}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def test_a_real_worker_exposes_every_metric_in_both_formats(kafka: str, tmp_path: Path) -> None:
    setup = Setup(kafka, partitions=2)
    setup.create()
    sent = produce_calls(kafka, setup.calls, 200, seed=5)
    with Worker(setup, tmp_path / "log") as worker:
        wait_for("everything is committed", lambda: setup.committed() >= sent, every=0.2)
        text, other = page(worker, "text/plain"), page(worker, "application/openmetrics-text")
    families = {family.name: family for family in parse(text)}
    exposed = {sample.name for family in families.values() for sample in family.samples}
    expected = {metric.name + ("_count" if metric.kind == "histogram" else "") for metric in TABLE}
    assert expected - exposed == {REFUNDS.name}  # nothing was given back
    applied = sum(sample.value for sample in families["telefonie_call_events"].samples)
    rejected = sum(sample.value for sample in families["telefonie_records_rejected"].samples)
    assert applied + rejected == sent
    (partitions,) = families["telefonie_calls_topic_partitions"].samples
    assert partitions.value == len(families["telefonie_last_commit_timestamp_seconds"].samples) == 2
    assert {sample.name for family in parse_openmetrics(other) for sample in family.samples} == exposed
    if shutil.which("promtool"):
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=30
        )
        assert (checked.returncode, checked.stderr) == (0, b"")
