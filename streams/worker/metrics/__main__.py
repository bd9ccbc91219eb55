"""docs/metrics.md, written from the table of metrics: python -m streams.worker.metrics > docs/metrics.md."""

from __future__ import annotations

from streams.worker.metrics.table import TABLE, Metric

_INTRODUCTION = """\
# Metrics

A worker exposes its metrics at `/metrics`, in the Prometheus text format, or as OpenMetrics on request. Counters start
at 0 with the process. A histogram has the series `_bucket`, `_sum` and `_count`.

A worker reports the partitions that are assigned to it, so sum over the workers. No label carries data of a call, and
each has few values: `currency` is an active ISO 4217 code, or `other`. The usual `process_…` metrics are exposed, too.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def reference() -> str:
    """docs/metrics.md, generated from the table of metrics."""
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
