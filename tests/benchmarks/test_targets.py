"""Whether a target counts as reached."""

from typing import Any

import pytest

from benchmarks.targets import of_busy, of_cpu, of_latency, of_pauses

OURS, THEIRS = {"contestant": "telefonie worker"}, {"contestant": "Kafka Streams"}
AT = {"guarantee": "exactly_once", "commit_ms": 100}
STREAMS = {"p50_ms": 100, "p99_ms": 200, "own_cores": 0.5, "broker_cores": 0.5, "connections": 9}


def latency(**figures: Any) -> list[tuple[str, bool]]:
    rows = [
        {**THEIRS, **AT, **STREAMS, "partitions": 4},
        {**THEIRS, **AT, **STREAMS, "partitions": 256},
        {**OURS, **AT, **STREAMS, "partitions": 4},
        {**OURS, **AT, **STREAMS, **figures, "partitions": 256},
    ]
    return [(each.measured, each.reached) for each in of_latency(rows)]


def test_latency_beside_kafka_streams() -> None:
    assert latency() == [
        ("1.00 and 1.00 times theirs", True),
        ("1.00 and 1.00 times theirs", True),
        ("9 at 256 partitions (Kafka Streams 9)", True),
    ]
    assert latency(p99_ms=210)[0] == ("1.00 and 1.00 to 1.05 times theirs", False)
    assert latency(broker_cores=0.6)[1] == ("1.00 and 1.00 to 1.20 times theirs", False)
    assert latency(connections=514)[2] == ("514 at 256 partitions (Kafka Streams 9)", False)


@pytest.mark.parametrize(
    ("changed", "reached"),
    [
        ({}, [True, True, True]),
        ({"stayed_median": 0.31}, [False, False, True]),
        ({"stayed_worst": 0.51}, [False, False, True]),
        ({"moved_worst": 8.1}, [True, True, False]),
    ],
)
def test_pauses(changed: dict[str, float], reached: list[bool]) -> None:
    good = {"stayed": 4, "stayed_median": 0.3, "stayed_worst": 0.5, "moved_worst": 8.0, "partitions": 8}
    bad = {"stayed": 4, "stayed_median": 9.0, "stayed_worst": 9.0, "moved_worst": 99.0, "partitions": 8}
    rows = [
        {**who, **figures, "event": event}
        for who, figures in ((OURS, good | changed), (THEIRS, bad))
        for event in ("join", "leave", "kill")
    ]
    assert [each.reached for each in of_pauses(rows)] == reached
    found = list(of_pauses(rows, ", over TLS", 8.5))
    assert found[2].reached
    assert found[2].wanted == "a worker is killed, over TLS: its partitions silent for at most 8.5 s"


def test_a_high_rate() -> None:
    rows = [
        {**OURS, "guarantee": guarantee, "commit_ms": commit, "p99_ms": 99}
        for guarantee, commit in (("exactly_once", 25), ("at_least_once", 25), ("at_least_once", 1_000))
    ]
    assert [(each.measured, each.reached) for each in of_busy(rows)] == [("99 ms", True), ("99 ms", False)]


@pytest.mark.parametrize(
    ("theirs", "measured", "reached"), [(32.0, "2.00 times", True), (31.0, "1.94 times", False)]
)
def test_cpu_is_compared_once_both_are_warm(theirs: float, measured: str, reached: bool) -> None:
    rows = [
        {**OURS, "guarantee": "exactly_once", "second_half": 16.0},
        {**THEIRS, "guarantee": "exactly_once", "second_half": theirs},
    ]
    assert [(each.measured, each.reached) for each in of_cpu(rows)] == [(measured, reached)]
