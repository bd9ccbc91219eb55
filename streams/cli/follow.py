"""What a worker is doing, in one line for people."""

from collections import defaultdict
from http import HTTPStatus

from prometheus_client.parser import text_string_to_metric_families

from streams.worker.endpoint import NoAnswerError, get

_TIMEOUT = 2.0  # seconds


def asked(url: str, path: str) -> str | None:
    """The answer of the worker at a URL to a GET; None if it does not answer, or not with 200."""
    try:
        status, body = get(url, path, seconds=_TIMEOUT)
    except NoAnswerError:
        return None
    return body.decode() if status == HTTPStatus.OK else None


def figures(metrics: str) -> str:
    """The sums of a worker's counters, in one line."""
    sums: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            sums[sample.name] += sample.value
    shown = {
        "events": "telefonie_call_events_total",
        "calls completed": "telefonie_calls_completed_total",
        "open": "telefonie_calls_open",
        "records rejected": "telefonie_records_rejected_total",
        "waiting": "telefonie_consumer_lag_records",
    }
    return ", ".join(f"{sums[name]:,.0f} {what}" for what, name in shown.items())
