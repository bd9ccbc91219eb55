"""What a worker is doing, in one line for people."""

from collections import defaultdict
from http.client import HTTPConnection, HTTPException

from prometheus_client.parser import text_string_to_metric_families

_TIMEOUT = 2.0  # seconds


class Page:
    """The web server of a worker on this machine."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    def get(self, path: str) -> str | None:
        """What it answers to a GET; None when it does not answer, or not with 200."""
        connection = HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.read().decode() if answer.status == 200 else None
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()

    @property
    def url(self) -> str:
        """Its address for a browser."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"


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
