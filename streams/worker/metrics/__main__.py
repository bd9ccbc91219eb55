"""docs/metrics.md, written from the table of metrics: python -m streams.worker.metrics > docs/metrics.md."""

from __future__ import annotations

from streams.worker.metrics.table import TABLE, Metric

_INTRODUCTION = """\
# Metrics

The worker serves them at `/metrics`, in the Prometheus text format, or as OpenMetrics when asked for.
Counters start at 0 with the process. A histogram has the series `_bucket`, `_sum` and `_count`.

A worker tells of the partitions that are assigned to it, so sum over the workers. No label carries anything
of a call, and each takes few values: `currency` is an active code of ISO 4217, or `other`. Beside these there
are the customary `process_…` metrics.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def reference() -> str:
    """docs/metrics.md, written from the table of metrics."""
    rows = (f"| `{m.name}` | {m.kind} | {_labels(m)} | {_meaning(m)} |\n" for m in TABLE)
    return _INTRODUCTION + "".join(rows)


def _labels(metric: Metric) -> str:
    return "<br>".join(
        f"`{label}`" + (": " + ", ".join(values) if values else "") for label, values in metric.labels.items()
    )


def _meaning(metric: Metric) -> str:
    if not metric.buckets:
        return metric.help
    return f"{metric.help} Buckets up to " + ", ".join(f"{bound:g}" for bound in metric.buckets) + "."


if __name__ == "__main__":
    print(reference(), end="")
