"""The Grafana dashboard, written with the metrics of `streams.worker.metrics.table`, so that no name can be wrong.

Each row answers one question of the operator on call; every panel's description says how to read it. Expressions are
filtered by the variables `namespace` and `job`, and rates use Grafana's own interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streams.worker.metrics import table as m
from streams.worker.metrics.table import Metric

_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_FILTER: Final = 'namespace=~"$namespace",job=~"$job"'
_WIDTH: Final = 24  # of Grafana's grid


def of(metric: Metric | str, suffix: str = "", **labels: str) -> str:
    """The selector of a metric's series; KeyError for a label that the metric does not have.

    A label may be a value, or several with `|` in between.
    """
    if isinstance(metric, Metric):
        unknown = labels.keys() - metric.labels.keys()
        if unknown:
            raise KeyError(f"{metric.name} has no label {', '.join(unknown)}")
        metric = metric.name
    matchers = [
        f'{name}=~"{value}"' if "|" in value else f'{name}="{value}"' for name, value in labels.items()
    ]
    return f"{metric}{suffix}{{{','.join([_FILTER, *matchers])}}}"


def rate(metric: Metric | str, suffix: str = "", **labels: str) -> str:
    """By how much a counter grows per second."""
    return f"rate({of(metric, suffix, **labels)}[$__rate_interval])"


def total(inner: str, *by: str) -> str:
    """The sum over the workers, by labels."""
    return f"sum by ({', '.join(by)}) ({inner})" if by else f"sum({inner})"


def quantile(q: float, metric: Metric) -> str:
    """A quantile of a histogram over all workers."""
    return f"histogram_quantile({q}, {total(rate(metric, '_bucket'), 'le')})"


def latest(metric: Metric, *by: str) -> str:
    """The highest value that any worker reports."""
    return f"max by ({', '.join(by)}) ({of(metric)})" if by else f"max({of(metric)})"


@dataclass(frozen=True)
class Panel:
    """One panel: `series` are expressions by legend; `unit` is one of Grafana's.

    `red` is the value from which a single figure is red.
    """

    title: str
    description: str
    series: Mapping[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    red: float | None = None
    stacked: bool = False

    def json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """As Grafana stores it, at a place in its grid."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": _DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": _STAT_OPTIONS if self.kind == "stat" else _GRAPH_OPTIONS,
            "targets": [
                {"refId": chr(ord("A") + at), "datasource": _DATASOURCE, "expr": expr, "legendFormat": legend}
                for at, (legend, expr) in enumerate(self.series.items())
            ],
        }

    def _defaults(self) -> dict[str, Any]:
        steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
        if self.red is not None:
            steps.append({"color": "red", "value": self.red})
        defaults: dict[str, Any] = {"unit": self.unit, "thresholds": {"mode": "absolute", "steps": steps}}
        if self.kind == "timeseries":
            fill, mode = (30, "normal") if self.stacked else (0, "none")
            defaults["custom"] = {"fillOpacity": fill, "stacking": {"mode": mode}, "showPoints": "never"}
        return defaults


_STAT_OPTIONS: Final = {
    "reduceOptions": {"calcs": ["lastNotNull"]},
    "colorMode": "value",
    "graphMode": "area",
}
_GRAPH_OPTIONS: Final = {
    "legend": {"displayMode": "list", "placement": "bottom"},
    "tooltip": {"mode": "multi"},
}


def _stat(title: str, description: str, expr: str, **options: Any) -> Panel:
    return Panel(title, description, {"": expr}, kind="stat", width=4, height=4, **options)


@dataclass(frozen=True)
class Row:
    """A row of panels under a heading."""

    title: str
    panels: list[Panel] = field(default_factory=list)


_REJECTED: Final = total(rate(m.REJECTED))
_UNASSIGNED: Final = (
    f"{latest(m.PARTITIONS)} - (count(group by (partition) ({of(m.RECOVERY)})) or 0 * {latest(m.PARTITIONS)})"
)

ROWS: Final = (
    Row(
        "Health: is it working?",
        [
            _stat("Workers", "Workers that answer.", f"count({of(m.BUILD)})"),
            _stat(
                "Alerts firing",
                "Alerts of this processor; the runbook has a section for each.",
                'count(ALERTS{alertname=~"Telefonie.*",alertstate="firing"}) or vector(0)',
                red=1,
            ),
            _stat(
                "Partitions without a worker",
                "Their calls are not processed. This is normal for a few seconds during a rebalance.",
                _UNASSIGNED,
                red=1,
            ),
            _stat(
                "Commits behind",
                "How far the slowest partition is behind, in time; 0 when everything is committed.",
                latest(m.OFFSET_AGE),
                unit="s",
                red=60,
            ),
            _stat(
                "Rejected",
                "The share of records that are sent to the dead letters.",
                f"{_REJECTED} / ({_REJECTED} + {total(rate(m.EVENTS))})",
                unit="percentunit",
                red=0.05,
            ),
            _stat(
                "Oldest open call",
                "Time since its first event. The timeout closes calls that have no more events.",
                latest(m.OLDEST_OPEN),
                unit="s",
            ),
        ],
    ),
    Row(
        "Flow: what comes in, what goes out",
        [
            Panel(
                "Call events",
                "Events applied, by the status in the event.",
                {"{{status}}": total(rate(m.EVENTS), "status")},
                unit="cps",
                stacked=True,
            ),
            Panel(
                "Calls closed",
                "By last known status; each call counts once.",
                {"{{status}}": total(rate(m.COMPLETED), "status")},
                unit="cps",
                stacked=True,
            ),
            Panel(
                "Calls open",
                "By last status. A status that only grows points to a producer that no longer sends what follows.",
                {"{{status}}": total(of(m.OPEN), "status")},
                stacked=True,
            ),
            Panel(
                "Unchanged events, amendments, foreign keys",
                "Duplicates and events out of order change nothing; amendments are later revisions of closed calls; "
                "a key that is not the call id may put the events of one call into two partitions.",
                {
                    "{{kind}}": total(rate(m.UNCHANGED), "kind"),
                    "amended": total(rate(m.AMENDED)),
                    "key mismatch": total(rate(m.KEY_MISMATCHES)),
                },
                unit="cps",
                width=12,
            ),
            Panel(
                "Records per batch",
                "Records processed at once: large batches mean that there is a backlog.",
                {"median": quantile(0.5, m.BATCH_RECORDS), "99 %": quantile(0.99, m.BATCH_RECORDS)},
                width=12,
            ),
        ],
    ),
    Row(
        "Quality: how good are the calls?",
        [
            Panel(
                "Answer-seizure ratio (ASR)",
                "Share of answered calls among closed ones over 15 minutes; absent below 50 calls.",
                {"{{direction}}": of("direction:telefonie_asr:ratio15m")},
                unit="percentunit",
            ),
            Panel(
                "Network effectiveness ratio (NER)",
                "Share of calls that the network delivered (answered, busy, no answer, canceled) among "
                "closed ones over 15 minutes; absent below 50 calls.",
                {"{{direction}}": of("direction:telefonie_ner:ratio15m")},
                unit="percentunit",
            ),
            Panel(
                "Average call duration (ACD)",
                "Duration per answered call over 15 minutes; absent below 50 answered calls.",
                {"duration": of("job:telefonie_acd:seconds15m")},
                unit="s",
            ),
            Panel(
                "Duration",
                "Of closed calls.",
                {"median": quantile(0.5, m.DURATION), "95 %": quantile(0.95, m.DURATION)},
                unit="s",
            ),
            Panel(
                "Time to ring",
                "Until the answer, or until the caller gave up.",
                {"median": quantile(0.5, m.RING), "95 %": quantile(0.95, m.RING)},
                unit="s",
            ),
            Panel(
                "Answered by",
                "Answered calls; unknown if the producer does not say.",
                {"{{answered_by}}": total(rate(m.ANSWERED), "answered_by")},
                unit="cps",
                stacked=True,
            ),
            Panel(
                "Anomalies",
                "What is unusual about closed calls, each kind once per call.",
                {"{{anomaly}}": total(rate(m.ANOMALIES_FOUND), "anomaly")},
                unit="cps",
            ),
            Panel(
                "Closed by timeout",
                "The share of closed calls whose end never arrived.",
                {
                    "timed out": f"{total(rate(m.COMPLETED, closed_by='timeout'))} / {total(rate(m.COMPLETED))}",
                },
                unit="percentunit",
            ),
            Panel(
                "Timeouts that failed",
                "Calls that could not be closed by their timeout, within the range shown: a bug in the "
                "program.",
                {"failed": total(f"increase({of(m.TIMEOUTS_FAILED)}[$__range])")},
            ),
        ],
    ),
    Row(
        "Rejects: what was set aside?",
        [
            Panel(
                "Records rejected",
                "By reason. They are in the dead letters: `telefonie dead list`.",
                {"{{reason}}": total(rate(m.REJECTED), "reason")},
                unit="cps",
                width=12,
                stacked=True,
            ),
            Panel(
                "Records rejected within the range shown",
                "How many there are to correct, by reason.",
                {"{{reason}}": total(f"increase({of(m.REJECTED)}[$__range])", "reason")},
                width=12,
            ),
        ],
    ),
    Row(
        "Lag and commits: is it up to date?",
        [
            Panel(
                "Lag",
                "Records between the committed offset and the end of the partition.",
                {"{{topic}} {{partition}}": latest(m.LAG, "topic", "partition")},
            ),
            Panel(
                "Commits behind",
                "How far commits are behind, in time. Near the commit interval under load; it grows "
                "when the worker cannot keep up, or cannot commit.",
                {"{{topic}} {{partition}}": latest(m.OFFSET_AGE, "topic", "partition")},
                unit="s",
            ),
            Panel(
                "Since the last commit",
                "Also grows on a quiet partition; read it together with the lag.",
                {"{{topic}} {{partition}}": f"time() - {latest(m.LAST_COMMIT, 'topic', 'partition')}"},
                unit="s",
            ),
            Panel(
                "Age of events when they are committed",
                "From the timestamp of the record: how long readers of completed calls wait.",
                {"median": quantile(0.5, m.EVENT_AGE), "99 %": quantile(0.99, m.EVENT_AGE)},
                unit="s",
            ),
            Panel(
                "Time to commit",
                "Outputs, state and offsets in one transaction. Grows if the brokers have problems.",
                {"median": quantile(0.5, m.COMMIT_SECONDS), "99 %": quantile(0.99, m.COMMIT_SECONDS)},
                unit="s",
            ),
            Panel(
                "Growth of the topic and commits",
                "Arriving records, and commits: while the topic grows, both move.",
                {
                    "records": total(
                        "max by (topic, partition) (deriv(" + of(m.LOG_END) + "[$__rate_interval]))"
                    ),
                    "commits": total(rate(m.COMMIT_SECONDS, "_count")),
                },
                unit="cps",
            ),
            Panel(
                "Behind an open transaction",
                "Records that cannot be read before a producer ends its transaction. Peaks are "
                "transactions that end; a plateau is one that does not.",
                {"{{topic}} {{partition}}": latest(m.HIDDEN, "topic", "partition")},
            ),
            Panel(
                "Skipped",
                "Records that the group was moved past, until somebody accepts them: `telefonie status`.",
                {"{{topic}} {{partition}}": latest(m.SKIPPED, "topic", "partition")},
            ),
            Panel(
                "Clock",
                "The worker's clock minus the brokers' clock, by which events are judged.",
                {"{{instance}}": latest(m.CLOCK_OFFSET, "instance")},
                unit="s",
            ),
        ],
    ),
    Row(
        "Recovery: does a worker take over?",
        [
            Panel(
                "Records to restore",
                "What is left of the changelog before the partition continues; a flat line above 0 is "
                "a worker that is stuck.",
                {"partition {{partition}}": latest(m.RECOVERY, "partition")},
            ),
            Panel(
                "Rebalances",
                "Times that partitions were assigned, by worker. Many mean workers that come and go.",
                {"{{instance}}": total(f"increase({of(m.REBALANCES)}[$__rate_interval])", "instance")},
            ),
            Panel(
                "Calls remembered",
                "Open and closed calls: what a worker has to restore, and most of its memory.",
                {"partition {{partition}}": latest(m.TABLE_CALLS, "partition")},
            ),
        ],
    ),
    Row(
        "Money: is it missing?",
        [
            Panel(
                "Charges an hour",
                "Charges of closed calls, in units of each currency; floats, for watching, not for billing.",
                {"{{currency}}": f"3600 * {total(rate(m.CHARGES), 'currency')}"},
            ),
            Panel(
                "Refunds an hour",
                "Amounts refunded by amendments and positive prices.",
                {"{{currency}}": f"3600 * {total(rate(m.REFUNDS), 'currency')}"},
            ),
            Panel(
                "Prices that nobody can bill",
                "Closed calls whose price is not a number, or whose currency is missing or not in use.",
                {
                    "{{anomaly}}": total(
                        rate(
                            m.ANOMALIES_FOUND,
                            anomaly="price-invalid|price-without-currency|currency-unknown",
                        ),
                        "anomaly",
                    )
                },
                unit="cps",
            ),
        ],
    ),
    Row(
        "Process: does it have headroom?",
        [
            Panel(
                "CPU",
                "Cores in use, by worker. A worker can use little more than one.",
                {"{{instance}}": total(rate("process_cpu_seconds_total"), "instance")},
            ),
            Panel(
                "Memory",
                "Resident memory, by worker.",
                {"{{instance}}": total(of("process_resident_memory_bytes"), "instance")},
                unit="bytes",
            ),
            Panel(
                "Busy",
                "The share of time in which the worker processes batches; near 100 % it cannot keep up.",
                {"{{instance}}": total(rate(m.BATCH_SECONDS, "_sum"), "instance")},
                unit="percentunit",
            ),
            Panel(
                "Up since",
                "Time since the start, by worker.",
                {"{{instance}}": f"time() - {total(of('process_start_time_seconds'), 'instance')}"},
                unit="s",
            ),
            Panel(
                "Time of the calls",
                "How far the clock that closes calls is behind the wall clock, by partition. A quiet partition "
                "follows within a minute.",
                {"partition {{partition}}": f"time() - {latest(m.STREAM_TIME, 'partition')}"},
                unit="s",
            ),
            Panel(
                "Versions",
                "Running versions; two at once during a rollout.",
                {
                    "{{version}}, Python {{python}}, {{guarantee}}, {{store}}": (
                        f"count by (version, python, guarantee, store) ({of(m.BUILD)})"
                    )
                },
            ),
        ],
    ),
)


def _panels() -> Iterator[dict[str, Any]]:
    number = y = 0
    for row in ROWS:
        number += 1
        place = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": place,
            "panels": [],
        }
        y, x, height = y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > _WIDTH:
                x, y, height = 0, y + height, 0
            number += 1
            yield panel.json(number, x, y)
            x, height = x + panel.width, max(height, panel.height)
        y += height


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    """A choice of several values of a label; All also finds series that do not have it."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def dashboard() -> dict[str, Any]:
    """The whole dashboard, as Grafana imports and provisions it."""
    return {
        "uid": "telefonie",
        "title": "Telefonie call events",
        "description": "The call-event processor: its health, its flow, the quality of the calls, and the money.",
        "tags": ["telefonie", "kafka"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "utc",
        "annotations": {"list": []},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                _variable("namespace", "Namespace", f"label_values({m.BUILD.name}, namespace)"),
                _variable("job", "Job", f'label_values({m.BUILD.name}{{namespace=~"$namespace"}}, job)'),
            ]
        },
        "panels": list(_panels()),
    }
