"""Workers whose machine has the wrong time: the brokers' clock counts (semantics, section 4)."""

import shutil
import time
from pathlib import Path

import msgspec
import pytest
from support.inject import QUICK_TICKS, config
from support.kafka import Record, end_offset, produce, read_topic
from support.worker import Setup, Worker, wait_for, wait_until_done

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("faketime") is None, reason="Debian's faketime is not installed"),
]
CALLS = 200


def moved(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Have processes that are started from now on see the wall clock so far off, and no other one."""
    (library, *_) = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FAKETIME", by)
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")


def events(status: str) -> list[Record]:
    """One event each of the calls, stamped with the present."""
    now = int(time.time() * 1000)
    call = {"direction": "inbound", "from": "+12025550100", "to": "+442079460000", "status": status}
    return [
        Record(msgspec.json.encode({"id": f"call-{n}", **call}), b"call-%d" % n, now) for n in range(CALLS)
    ]


def offset(worker: Worker) -> float:
    (line,) = [
        each
        for each in worker.page("/metrics").splitlines()
        if each.startswith("telefonie_clock_offset_seconds ")
    ]
    return float(line.split()[1])


@pytest.mark.parametrize("repartition", ["false", "true"])
def test_a_worker_ten_minutes_behind_rejects_nothing(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repartition: str
) -> None:
    setup = Setup(kafka, partitions=1, settings={"REPARTITION": repartition})
    setup.create()
    produce(kafka, setup.calls, [*events("queued"), *events("completed")])
    moved(monkeypatch, "-10m")
    with Worker(setup, tmp_path / "log") as worker:
        wait_until_done(setup)
        assert offset(worker) == pytest.approx(-600, abs=2)
        assert "s behind the brokers'" in worker.said()
        assert worker.terminate() == 0
    assert read_topic(kafka, setup.topic("dead")) == []
    assert len(read_topic(kafka, setup.topic("completed"))) == CALLS


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_a_worker_two_days_ahead_closes_nothing_in_a_quiet_partition(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    setup = Setup(kafka, partitions=1, settings={"STORE": store, "DATA_DIR": str(tmp_path / "data")})
    setup.create()
    produce(kafka, setup.calls, events("queued"))
    moved(monkeypatch, "+2d")
    with Worker(setup, tmp_path / "log", before=QUICK_TICKS + config(idle_after=500)) as worker:
        wait_until_done(setup)
        changelog = f"{setup.group}-calls-changelog"
        before = end_offset(kafka, changelog)  # to read a topic to its end while it grows takes for ever
        wait_for("the idle clock moves", lambda: end_offset(kafka, changelog) > before + 15)
        assert read_topic(kafka, setup.topic("completed")) == []
        assert offset(worker) == pytest.approx(172_800, abs=2)
        produce(kafka, setup.calls, events("completed"))
        wait_until_done(setup)
        assert worker.terminate() == 0
    assert read_topic(kafka, setup.topic("dead")) == []
    found = [msgspec.json.decode(each.value or b"") for each in read_topic(kafka, setup.topic("completed"))]
    assert len(found) == CALLS
    assert {each["closed_by"] for each in found} == {"status"}
