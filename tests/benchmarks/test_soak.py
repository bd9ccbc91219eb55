"""What a soak does to its workers, and what it takes for lost or doubled."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import cycle, islice
from pathlib import Path
from random import Random
from unittest.mock import Mock
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from support.worker import wait_for

from benchmarks import proofs
from benchmarks.crew import Crew
from benchmarks.faults import Faults, Kind, Timing, kinds
from benchmarks.load import make_topics
from benchmarks.soak import Waits

TIMING = Timing(session=0.3, absence=0.3, patience=20.0)
#: Is a member at once, and again after each pause; this is how a worker's log shows it.
OBEDIENT = """
import signal, sys, time
def join(*_):
    print("partitions [0, 1] of calls are assigned", file=sys.stderr, flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.signal(signal.SIGCONT, join)
join()
while True:
    time.sleep(60)
"""
UNCLEAN = OBEDIENT.replace("sys.exit(0)", "sys.exit(3)")
FENCED = OBEDIENT.replace("SIGCONT, join", "SIGCONT, lambda *_: sys.exit('taken over')")
BROKEN = FENCED.replace("taken over", "now critical telefonie: KeyError")
CRASHED = OBEDIENT.replace("SIGCONT, join", "SIGCONT, lambda *_: sys.exit(2)")
ABSENT = OBEDIENT.replace("SIGCONT, join", "SIGCONT, lambda *_: None")
#: The mere start may take less than is counted.
BUSY = OBEDIENT.replace("while True:", "sum(range(5_000_000))\nwhile True:")
ENDING = OBEDIENT.replace("sleep(60)", "sleep(0.1)\n    sys.exit(0)")


class Scene:
    """A crew of programs that behave as workers do, and faults in this order, one each tenth of a second."""

    def __init__(self, folder: Path, program: str, workers: int, *order: Kind) -> None:
        self._program = program
        self.names: list[str | None] = []
        self.broker = Mock()
        self.crew = Crew({}, folder, workers, Random(1), self._start)
        self.faults = Faults(self.crew, self.broker, 0.1, cycle(order), Random(1), TIMING)

    @contextmanager
    def _start(self, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
        self.names.append(env.get("TELEFONIE_INSTANCE_ID"))
        command = [sys.executable, "-c", self._program]
        with log.open("ab") as said, subprocess.Popen(command, stderr=said) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, faults: int) -> None:
        """Until so many faults are over; at every moment there is a worker that runs and is left alone."""
        give_up, begun = time.monotonic() + 60, 0
        while self.faults.go_on() or begun < faults:
            assert time.monotonic() < give_up
            self.crew.check()
            if begun < faults:
                self.faults.begin(begun + 1)
                begun = sum(self.faults.counts[kind] for kind in Kind)
            if len(self.crew.places) > 1:
                assert any(not each.taken for each in self.crew.places)
            time.sleep(0.01)


@contextmanager
def scene(*arguments: object) -> Iterator[Scene]:
    made = Scene(*arguments)  # type: ignore[arg-type]
    with closing(made.crew):
        for place in made.crew.places:
            while not place.joined():
                time.sleep(0.01)
        yield made


def test_one_worker_is_killed_each_time_and_the_broker_every_fifth() -> None:
    assert list(islice(kinds(1, Random(7)), 10)) == [*[Kind.KILL] * 4, Kind.BROKER] * 2


def test_several_workers_get_each_kind_as_often_in_an_order_that_the_seed_decides() -> None:
    found, same, other = (list(islice(kinds(3, Random(seed)), 50)) for seed in (7, 7, 8))
    assert found == same != other
    assert all(set(found[number : number + 5]) == set(Kind) for number in range(0, 50, 5))


@pytest.mark.parametrize("kind", Kind)
def test_a_fault_ends_with_every_worker_back(tmp_path: Path, kind: Kind) -> None:
    with scene(tmp_path, OBEDIENT, 3, kind) as at_work:
        before = [place.process.pid for place in at_work.crew.places]
        at_work.run(1)
        after = [place.process.pid for place in at_work.crew.places]
        assert sum(one != other for one, other in zip(before, after, strict=True)) == (
            {Kind.ROLL: 3, Kind.PAUSE: 0}.get(kind, 1)
        )
        assert at_work.broker.kill.called == at_work.broker.start.called == (kind is Kind.BROKER)
        assert at_work.faults.counts["paused and back"] == (kind is Kind.PAUSE)
        at_work.crew.stop()


def test_faults_overlap_but_leave_one_worker_alone(tmp_path: Path) -> None:
    with scene(tmp_path, OBEDIENT, 3, Kind.KILL, Kind.PAUSE, Kind.LEAVE, Kind.ROLL, Kind.BROKER) as at_work:
        at_work.run(15)
        assert {kind: at_work.faults.counts[kind] for kind in Kind} == dict.fromkeys(Kind, 3)


def test_about_half_of_several_workers_are_static_and_each_place_has_its_own_name(tmp_path: Path) -> None:
    with scene(tmp_path, OBEDIENT, 2, Kind.ROLL) as at_work:
        at_work.run(10)
        assert set(at_work.names[::2]) == {"soak-0", None}
        assert set(at_work.names[1::2]) == {"soak-1", None}
    with scene(tmp_path, OBEDIENT, 1, Kind.KILL) as alone:
        alone.run(3)
        assert alone.names == ["soak-0"] * 4


def test_a_paused_worker_that_was_fenced_says_why_and_is_restarted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with scene(tmp_path, FENCED, 2, Kind.PAUSE) as at_work:
        at_work.run(1)
        assert at_work.faults.counts["paused and fenced"] == 1
        assert len(at_work.names) == 3
        assert capsys.readouterr().out == "a paused worker has ended: taken over\n"


@pytest.mark.parametrize(
    ("program", "kind", "error"),
    [
        (UNCLEAN, Kind.LEAVE, "exit code 3"),
        (UNCLEAN, Kind.ROLL, "exit code 3"),
        (CRASHED, Kind.PAUSE, "exit code 2"),
        (BROKEN, Kind.PAUSE, "now critical telefonie: KeyError"),
        (ENDING, Kind.PAUSE, "ended with exit code 0"),
    ],
)
def test_a_worker_that_does_not_do_what_it_has_to_fails_the_soak(
    tmp_path: Path, program: str, kind: Kind, error: str
) -> None:
    with scene(tmp_path, program, 2, kind) as at_work, pytest.raises(RuntimeError, match=error):
        at_work.run(1)


@pytest.mark.parametrize(
    ("program", "error"),
    [(UNCLEAN, "cleanly, but with exit code 3"), (OBEDIENT.replace("sys.exit(0)", "None"), "in time")],
)
def test_every_worker_has_to_stop_cleanly_in_the_end(tmp_path: Path, program: str, error: str) -> None:
    with scene(tmp_path, program, 2, Kind.KILL) as at_work:
        patience = 0.3 if error == "in time" else 20.0
        with pytest.raises(RuntimeError, match=f"worker 0 did not stop {error}"):
            at_work.crew.stop(patience)


def test_a_paused_worker_that_joins_no_group_fails_the_soak(tmp_path: Path) -> None:
    with scene(tmp_path, ABSENT, 2, Kind.PAUSE) as at_work:
        at_work.faults._timing = TIMING._replace(patience=0.5)
        with pytest.raises(RuntimeError, match=r"not within 0 s: worker . becomes a member again"):
            at_work.run(1)


def test_a_log_that_grows_without_bounds_fails_the_soak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.crew._LARGEST_LOG", 10)
    with (
        scene(tmp_path, OBEDIENT, 1, Kind.KILL) as at_work,
        pytest.raises(RuntimeError, match="more than 10 bytes"),
    ):
        at_work.crew.check()


def test_the_cpu_time_of_former_workers_counts(tmp_path: Path) -> None:
    with scene(tmp_path, BUSY, 1, Kind.KILL) as at_work:
        (place,) = at_work.crew.places
        wait_for("it has cost something", lambda: place.cpu_seconds() > 0)
        before = place.cpu_seconds()
        place.close()
        assert place.cpu_seconds() >= before
        assert place.resident() == 0


def test_records_are_the_same_only_in_key_and_value() -> None:
    assert proofs.counted([(b"a", b"1"), (b"a", b"2"), (b"a", b"1"), (b"b", b"1")]) == (4, 3)
    assert proofs.counted([(b"ab", b"c"), (b"a", b"bc")]) == (2, 2)


@pytest.mark.kafka
def test_a_committed_record_that_lies_in_a_topic_twice_is_found(kafka: str) -> None:
    topic = f"twice-{uuid4().hex[:8]}"
    make_topics(kafka, topic, partitions=3)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic})
    producer.init_transactions(30)

    def write(*numbers: int, end: Callable[[float], None] = producer.commit_transaction) -> None:
        producer.begin_transaction()
        for number in numbers:
            producer.produce(topic, b"%d" % number, b"key", partition=number % 3)
        producer.flush(30)
        end(30)

    write(*range(9))
    write(*range(9), end=producer.abort_transaction)
    assert proofs.exactly_once(kafka, topic, 3) == 9
    write(5)
    with pytest.raises(RuntimeError, match=f"1 of 10 records of {topic} are there twice"):
        proofs.exactly_once(kafka, topic, 3)


@pytest.mark.parametrize(
    ("equal", "faults", "holds"),
    [(5, {}, True), (0, {}, False), *((5, {kind: 1}, False) for kind in ("missing", "differing", "extra"))],
)
def test_a_comparison_holds_when_something_is_equal_and_nothing_is_not(
    monkeypatch: pytest.MonkeyPatch, equal: int, faults: dict[str, int], holds: bool
) -> None:
    found = {"calls": {"equal": equal}, "revisions": {"equal": equal}, "windows": faults}
    said = '{"verdict": "extra"}\n' + json.dumps({"comparison": found})
    monkeypatch.setattr(proofs.subprocess, "run", Mock(return_value=Mock(stdout=said, stderr="")))
    if holds:
        assert proofs.compared({}) == found
    else:
        with pytest.raises(RuntimeError, match="verdict"):
            proofs.compared({})


def test_waits_are_from_sent_to_committed() -> None:
    waits = Waits()
    assert waits.told() == "nothing was committed"
    waits.look(10.0, 100, 0)
    waits.look(11.0, 200, 50)
    waits.look(12.5, 200, 100)
    waits.look(13.0, 200, 200)
    assert waits.told() == "waits p50 2.50 s, p99 2.50 s, longest 2.5 s"
