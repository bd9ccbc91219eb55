"""What the worker was to reach, and whether it does, from what was kept in `benchmarks/results`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from benchmarks.contestants import CONTESTANTS, OURS
from benchmarks.results import Rows, rows_of

_OURS, _THEIRS = (CONTESTANTS[name].title for name in (OURS, "kafka_streams"))
_BUSY: Final = {("exactly_once", 25): 100, ("exactly_once", 100): 200, ("at_least_once", 25): 50}
"""Guarantee and milliseconds between commits -> the 99th percentile wanted at 10,000 events/s, in ms."""
_CONNECTIONS = 10
_STAYS_SECONDS = (0.3, 0.5)
_PAUSES: Final = (
    (("pauses-8", "pauses-64"), "", 8.0),
    (("pauses-tls",), ", over TLS with SCRAM", 8.0),
    (("pauses-2m",), ", with 2,000,000 remembered calls", 10.3),
)
"""Results, what sets them apart, and for how long the partitions of a killed worker may be silent: the session timeout,
6 s, then 1 s, and the replay of 200,000 calls, about 1 s, or of 1,000,000 at 300,000 rows a second."""
_LESS_CPU = 2.0

Pair: TypeAlias = tuple[dict[str, Any], dict[str, Any]]


class Target(NamedTuple):
    """What is wanted, what was measured, and whether that is enough."""

    wanted: str
    measured: str
    reached: bool


def pairs(rows: Rows, *columns: str) -> list[Pair]:
    """Our row and that of Kafka Streams, where both are there with the same values in these columns."""
    theirs = {tuple(row[each] for each in columns): row for row in rows if row["contestant"] == _THEIRS}
    keyed = ((tuple(row[each] for each in columns), row) for row in rows if row["contestant"] == _OURS)
    return [(row, theirs[key]) for key, row in keyed if key in theirs]


def _ratios(found: Iterable[Pair], column: str) -> list[float]:
    return [own[column] / other[column] for own, other in found]


def _span(values: list[float]) -> str:
    low, high = (f"{value:.2f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def of_latency(rows: Rows) -> Iterator[Target]:
    """Beside Kafka Streams, at each number of partitions."""
    both = pairs(rows, "partitions", "guarantee", "commit_ms")
    if not both:
        return
    for about, first, second in (
        ("latency, p50 and p99", "p50_ms", "p99_ms"),
        ("cores, its own and the broker's", "own_cores", "broker_cores"),
    ):
        ratios = [_ratios(both, first), _ratios(both, second)]
        measured = f"{_span(ratios[0])} and {_span(ratios[1])} times theirs"
        wanted = f"{about}: at most those of Kafka Streams, at each number of partitions"
        yield Target(wanted, measured, max(map(max, ratios)) <= 1)
    most, other = max(both, key=lambda pair: pair[0]["partitions"])
    yield Target(
        f"TCP connections to the broker: at most {_CONNECTIONS}, whatever the partitions",
        f"{most['connections']} at {most['partitions']} partitions (Kafka Streams {other['connections']})",
        bool(most["connections"] <= _CONNECTIONS),
    )


def of_pauses(rows: Rows, case: str = "", killed: float = 8.0) -> Iterator[Target]:
    """Of our worker alone."""
    own = [row for row in rows if row["contestant"] == _OURS]
    for event, about in (("join", "a worker joins"), ("leave", "a worker leaves")):
        found = [row for row in own if row["event"] == event and row["stayed"]]
        shown = ", ".join(
            f"{row['stayed_median']} / {row['stayed_worst']} s of {row['partitions']}" for row in found
        )
        median, worst = _STAYS_SECONDS
        yield Target(
            f"{about}{case}: partitions that stay silent for at most {median} s (median) and {worst} s (worst)",
            shown,
            all(row["stayed_median"] <= median and row["stayed_worst"] <= worst for row in found),
        )
    found = [row for row in own if row["event"] == "kill"]
    yield Target(
        f"a worker is killed{case}: its partitions silent for at most {killed:g} s",
        ", ".join(f"{row['moved_worst']} s of {row['partitions']}" for row in found),
        all(row["moved_worst"] <= killed for row in found),
    )


def of_busy(rows: Rows) -> Iterator[Target]:
    """At 10,000 events/s."""
    for row in rows:
        most = _BUSY.get((row["guarantee"], row["commit_ms"]))
        if row["contestant"] == _OURS and most is not None:
            about = f"{row['guarantee']}, commits each {row['commit_ms']} ms"
            yield Target(
                f"10,000 events/s, {about}: p99 under {most} ms", f"{row['p99_ms']} ms", row["p99_ms"] < most
            )


def of_cpu(rows: Rows) -> Iterator[Target]:
    """Events for a CPU-second, warmed up."""
    for own, other in pairs(rows, "guarantee"):
        ratio = other["second_half"] / own["second_half"]
        wanted = f"events for a CPU-second: {_LESS_CPU:.0f} times those of Kafka Streams, {own['guarantee']}"
        yield Target(wanted, f"{ratio:.2f} times", ratio >= _LESS_CPU)


def targets(folder: Path) -> list[Target]:
    """All of them."""
    return [
        *of_latency(rows_of(["latency"], folder)),
        *(
            each
            for names, case, killed in _PAUSES
            for each in of_pauses(rows_of(names, folder), case, killed)
        ),
        *of_busy(rows_of(["latency-busy"], folder)),
        *of_cpu(rows_of(["compare"], folder)),
    ]
