"""The tables of docs/performance.md, from results as the benchmarks keep them."""

import json
from pathlib import Path

import pytest

from benchmarks.figures import PARTS
from benchmarks.results import rows_of
from benchmarks.tables import TABLES, fill, found, summary

LATENCY = {
    "guarantee": "exactly_once",
    "commit_ms": 100,
    "p50_ms": 90,
    "p99_ms": 140,
    "own_cores": 0.2,
    "others_cores": 0.1,
}
PAUSE = {
    "stayed": 0,
    "stayed_median": None,
    "stayed_worst": None,
    "moved": 8,
    "moved_median": 1.5,
    "moved_worst": 2.0,
}
COST = {
    "guarantee": "exactly_once",
    "cpu_seconds_per_million": 16.4,
    "second_half": 16.1,
    "others_cores": 0.7,
    "brokers_cpu": 4.4,
    "rss_mib": 1_210,
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    latency = [
        {"contestant": name, "partitions": number, "broker_cores": 0.4, "connections": 9, **LATENCY}
        for name in ("telefonie worker", "Kafka Streams")
        for number in (4, 256)
    ]
    pauses = [{"contestant": "telefonie worker", "event": "roll", **PAUSE}]
    kept = {
        "compare": [{"contestant": "Kafka Streams", "events_per_second": 45_000, **COST}],
        "latency": latency,
        "latency-busy": latency,
        "pauses-8": [{"partitions": 8, **each} for each in pauses],
        "pauses-64": [{"partitions": 64, **each} for each in pauses],
        "pauses-tls": [{"partitions": 8, **each} for each in pauses],
        "pauses-2m": [{"partitions": 8, **each} for each in pauses],
    }
    assert kept.keys() == PARTS.keys(), "what the figures are taken as is what the tables are made of"
    for name, rows in kept.items():
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"taken": "2026-11-29T10:00+00:00", "cores": 2, "rows": rows})
        )
    return tmp_path


def test_the_summary_has_a_column_for_each_contestant(results: Path) -> None:
    lines = summary(results).splitlines()
    assert lines[0] == "| exactly once | telefonie worker | Kafka Streams |"
    assert "| CPU-seconds for a million events |  | 16.4 |" in lines
    assert "| memory, MiB |  | 1,210 |" in lines
    assert "| latency p50 / p99, 256 partitions, ms | 90 / 140 | 90 / 140 |" in lines
    assert lines[-1] == "Taken on 2026-11-29, on 2 cores, of which other processes used up to 0.7."
    assert [each for each in lines if "those that" in each] == [
        "| all are restarted, 8 partitions: those that move, s | 1.5 / 2.0 |  |",
        "| all are restarted, 64 partitions: those that move, s | 1.5 / 2.0 |  |",
    ]


def test_a_cell_is_empty_where_nothing_was_measured(results: Path) -> None:
    rows = rows_of(["pauses-8"], results)
    assert found(rows, "telefonie worker", "{moved_worst}", partitions=8) == "2.0"
    assert found(rows, "telefonie worker", "{stayed_worst}", partitions=8) == ""
    assert found(rows, "Kafka Streams", "{moved_worst}", partitions=8) == ""


def test_only_what_lies_between_the_comments_is_written_again(results: Path) -> None:
    page = "before\n" + "".join(f"<!-- {name} -->\nold\n<!-- /{name} -->\nkept\n" for name in TABLES)
    filled = fill(page, results)
    assert filled.count("kept\n") == len(TABLES)
    assert "old" not in filled
    assert fill(filled, results) == filled
    (results / "latency-busy.json").unlink()
    assert fill(filled, results) == filled, "a table without results stays as it was"
