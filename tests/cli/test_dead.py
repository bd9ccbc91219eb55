"""`telefonie dead` on a real broker: nothing that should not be shown, nothing sent twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from importlib import import_module

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner, Result
from support.inject import signal_at
from support.kafka import Record, configure, create_topics, delete_records, produce, read_topic

from streams.calls.times import instant
from streams.cli import main
from streams.codecs import Reason, Rejected, dead_headers, smaller_letter
from streams.engine import records as engine_records
from streams.engine.limits import Limits
from streams.engine.packing import pack
from streams.engine.records import decode_name
from streams.kafka.reading import LogRecord, ranges, reader, records
from streams.records import Output
from streams.settings import Settings

pytestmark = pytest.mark.kafka
dead_command = import_module("streams.cli.dead")

NOW = int(time.time() * 1000)
HOUR = 3_600_000
PHONE = "+12125550123"
OWN = (("trace", b"7"), ("dead-path", b"of an earlier life"))
REASONS: tuple[Reason, ...] = ("schema", "malformed", "too-late")


class Scene:
    """Topics of its own; dead letters in two partitions, the first an hour old."""

    def __init__(self, brokers: str, name: str) -> None:
        self.brokers, self.calls, self.dead = brokers, name, f"{name}.dead"
        create_topics(brokers, self.calls, self.dead, partitions=2)
        self.env = {
            "TELEFONIE_BROKERS": brokers,
            "TELEFONIE_APP_ID": name,
            "TELEFONIE_CALLS_TOPIC": self.calls,
            "TELEFONIE_DEAD_TOPIC": self.dead,
        }

    def bury(self, count: int, partition: int = 0, start: int = 0) -> None:
        """Write dead letters, one reason after the other, a minute between."""
        produce(self.brokers, self.dead, [self.letter(partition, n) for n in range(start, start + count)])

    def letter(self, partition: int, n: int) -> Record:
        reason = REASONS[n % len(REASONS)]
        path = "$.from" if reason == "schema" else None
        at = NOW - HOUR + n * 60_000
        said = dead_headers(
            OWN, Rejected(reason, "from is no number", path), self.calls, partition, 100 + n, at
        )
        value = f'{{"n":{n},"from":"{PHONE}"}}'.encode()
        return Record(value, f"call-{n}".encode(), at, said, partition)

    def run(self, *args: str, **options: object) -> Result:
        return CliRunner().invoke(main, ["dead", *args], env=self.env, **options)  # type: ignore[arg-type]

    def rows(self, *args: str) -> list[dict[str, object]]:
        result = self.run("list", "--json", *args)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    def sent(self) -> list[Record]:
        return read_topic(self.brokers, self.calls)


@pytest.fixture
def scene(kafka: str, topic_name: str) -> Scene:
    return Scene(kafka, topic_name)


def moment(minutes: int) -> str:
    """The time of the dead letter of that number."""
    return instant(NOW - HOUR + minutes * 60_000)


def places(rows: Sequence[dict[str, object]]) -> list[object]:
    return [row["place"] for row in rows]


def test_list_chooses_and_shows_nothing_of_a_call(scene: Scene) -> None:
    assert scene.rows() == []
    scene.bury(6)
    scene.bury(3, partition=1)
    assert len(scene.rows()) == 9
    assert places(scene.rows("--reason", "schema", "--partition", "0")) == ["0:0", "0:3"]
    assert places(scene.rows("--since", moment(3), "--until", moment(5))) == ["0:3", "0:4"]
    assert places(scene.rows("--key", "call-1", "--key", "call-5")) == ["0:1", "0:5", "1:1"]
    assert places(scene.rows("--path", "$.from", "--partition", "0")) == ["0:0", "0:3"]
    assert places(scene.rows("--origin", "1:102", "--origin", "0:104")) == ["0:4", "1:2"]
    for row in scene.rows():
        assert places(scene.rows("--origin", str(row["origin"]))) == [row["place"]], "as it was shown"
    assert scene.rows("--origin", "another/1/102") == []
    for wrong in ("1:", "another/1:102", "/1/102", "a/b/1/102"):
        assert f"'{wrong}' is no PARTITION:OFFSET" in scene.run("list", "--origin", wrong).stderr
    assert len(scene.rows("--since", "2h", "--until", "1m")) == 9
    assert places(scene.rows("--limit", "2")) == ["0:4", "0:5"]
    assert scene.rows("--limit", "1", "--reason", "schema") == [
        {
            "place": "0:3",
            "time": moment(3),
            "reason": "schema",
            "path": "$.from",
            "message": "from is no number",
            "origin": f"{scene.calls}/0/103",
            "redriven": False,
            "rejected_at": moment(3),
        }
    ]
    text = scene.run("list")
    assert text.stdout.splitlines()[0].split("\t")[2:4] == ["schema", "$.from"]
    assert PHONE not in text.output
    assert "call-" not in text.output


def test_a_list_in_a_pipe_is_written_as_it_is_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.bury(25)
    written: list[int] = []
    write_rows = dead_command._write

    def write(rows: Iterable[dict[str, object]], as_json: bool) -> None:
        kept = list(rows)
        written.append(len(kept))
        write_rows(kept, as_json)

    monkeypatch.setattr(dead_command, "_AT_ONCE", 10)
    monkeypatch.setattr(dead_command, "_write", write)
    assert len(scene.rows()) == 25
    assert written == [10, 10, 5]


def test_show_gives_the_value_only_when_asked(scene: Scene) -> None:
    scene.bury(2)
    shown = json.loads(scene.run("show", "0:1", "--json").stdout)
    assert shown["headers"] == [["trace", "7"], ["dead-path", "of an earlier life"]]
    assert (shown["reason"], shown["path"], shown["key"]) == ("malformed", None, "call-1")
    assert PHONE not in scene.run("show", "0:1").output
    assert scene.run("show", "0:1", "--value").stdout_bytes == scene.letter(0, 1).value
    for place, said in (("0:9", "no dead letter at 0:9"), ("7:0", "has no partition 7: it has 0 to 1")):
        result = scene.run("show", place)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert said in result.stderr


def test_redrive_sends_what_was_rejected_back_to_its_partition_once(scene: Scene) -> None:
    scene.bury(6)
    scene.bury(3, partition=1)
    dry = scene.run("redrive", "--reason", "schema", "--dry-run")
    assert dry.stdout.splitlines()[0] == f"0:0 to {scene.calls}/0: schema: the property id is missing (at $)"
    assert (dry.stderr, scene.sent()) == ("3 would be sent back\n", [])
    assert scene.run("redrive", "0:1").stderr == "1 sent back, 0 had been sent before\n"
    assert scene.run("redrive", "--reason", "malformed").stderr == "2 sent back, 1 had been sent before\n"
    assert scene.run("redrive", "--origin", "0:101").stderr == "0 sent back, 1 had been sent before\n"
    first = scene.sent()[0]
    assert (first.partition, first.key, first.value) == (0, b"call-1", scene.letter(0, 1).value)
    assert first.timestamp == NOW - HOUR + 60_000
    assert first.headers == (*OWN, ("redriven-from", f"{scene.dead}/0/1".encode()))
    assert sum(bool(row["redriven"]) for row in scene.rows()) == 3
    everything = scene.run("redrive", "--all", "--json")
    assert json.loads(everything.stdout) == {"sent": 6, "before": 3, "left": 0, "gone": 0}
    assert sorted((each.partition, each.key) for each in scene.sent()) == [
        *((0, f"call-{n}".encode()) for n in range(6)),
        *((1, f"call-{n}".encode()) for n in range(3)),
    ]


def test_a_record_that_is_buried_twice_is_sent_once(scene: Scene) -> None:
    scene.bury(2)
    scene.bury(2)  # as a crash under at_least_once may do
    assert scene.run("redrive", "--all").stderr == "2 sent back, 2 had been sent before\n"
    scene.bury(1, start=2)
    assert scene.run("redrive", "--all").stderr == "1 sent back, 4 had been sent before\n"


def test_another_app_id_sends_nothing_again(scene: Scene) -> None:
    scene.bury(3)
    assert scene.run("redrive", "0:0", "0:1").stderr == "2 sent back, 0 had been sent before\n"
    scene.env["TELEFONIE_APP_ID"] += "-other"
    assert [row["redriven"] for row in scene.rows()] == [True, True, False]
    assert scene.run("redrive", "--all").stderr == "1 sent back, 2 had been sent before\n"
    assert [each.key for each in scene.sent()] == [b"call-0", b"call-1", b"call-2"]


def test_what_earlier_releases_recorded_counts_for_its_own_dead_letters(scene: Scene) -> None:
    scene.bury(2)
    earlier = f"{scene.calls}-an-app-id-redriven"
    create_topics(scene.brokers, earlier, config={"cleanup.policy": "compact"})
    redriven = [f"{scene.calls}/0/{100 + n}@{NOW - HOUR + n * 60_000}".encode() for n in range(2)]
    places = (f"{scene.dead}/0/0".encode(), f"{scene.dead}.of-others/0/1".encode())
    produce(scene.brokers, earlier, [Record(*entry) for entry in zip(places, redriven, strict=True)])
    assert [row["redriven"] for row in scene.rows()] == [True, False]
    assert scene.run("redrive", "--all").stderr == "1 sent back, 1 had been sent before\n"
    assert [each.key for each in scene.sent()] == [b"call-1"]


def test_a_tombstone_revokes_an_entry(scene: Scene) -> None:
    scene.bury(2)
    assert scene.run("redrive", "--all").stderr == "2 sent back, 0 had been sent before\n"
    topic = f"{scene.dead}-redriven"
    first = next(each for each in read_topic(scene.brokers, topic) if each.key and b"/100@" in each.key)
    produce(scene.brokers, topic, [Record(None, first.key)])
    assert [row["redriven"] for row in scene.rows()] == [False, True]
    assert scene.run("redrive", "--all").stderr == "1 sent back, 1 had been sent before\n"
    assert [each.key for each in scene.sent()] == [b"call-0", b"call-1", b"call-0"]


def test_redrive_corrects_and_stamps(scene: Scene) -> None:
    scene.bury(3)
    command = 'v=$(cat); case "$v" in *:1,*) ;; *) printf %s "${v%?},\\"corrected\\":1}";; esac'
    result = scene.run("redrive", "--all", "--transform", command, "--now-timestamp")
    assert result.stderr == "2 sent back, 0 had been sent before, 1 left by the transform\n"
    assert [json.loads(each.value or b"") for each in scene.sent()] == [
        {"n": n, "from": PHONE, "corrected": 1} for n in (0, 2)
    ]
    assert all((each.timestamp or 0) >= NOW for each in scene.sent())
    failed = scene.run("redrive", "--all", "--transform", "exit 3")
    assert failed.exit_code == 1
    assert "the transform of dead letter 0:1 failed with exit code 3" in failed.stderr


@pytest.mark.parametrize("args", [(), ("--all", "--reason", "schema"), ("--reason", "rude"), ("0-1",)])
def test_redrive_wants_to_be_told_which(scene: Scene, args: tuple[str, ...]) -> None:
    assert scene.run("redrive", *args).exit_code == 2


@pytest.mark.parametrize(
    ("point", "after"),
    [
        ("aiokafka:AIOKafkaProducer.send_batch", False),
        ("aiokafka:AIOKafkaProducer.send_batch", True),
        ("aiokafka:AIOKafkaProducer.commit_transaction", False),
        ("aiokafka:AIOKafkaProducer.commit_transaction", True),
    ],
)
def test_a_killed_redrive_goes_on_where_it_was(scene: Scene, point: str, after: bool) -> None:
    scene.bury(60)
    call = 5 if "send_batch" in point else 3  # of the third transaction: the records, then their entries
    before = (
        f"import streams.operations.redrive\nstreams.operations.redrive._BATCH_RECORDS = 10\n"
        f"{signal_at(point, signal.SIGKILL, call=call, after=after)}"
        "\nfrom streams.cli import main\nmain()"
    )
    command = [sys.executable, "-c", before, "dead", "redrive", "--all"]
    killed = subprocess.run(command, env={**os.environ, **scene.env}, timeout=60, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    committed = 30 if after and "commit" in point else 20
    result = scene.run("redrive", "--all")
    assert result.stderr == f"{60 - committed} sent back, {committed} had been sent before\n"
    assert [each.key for each in scene.sent()] == [f"call-{n}".encode() for n in range(60)]


def test_of_two_redrives_the_second_takes_over(scene: Scene) -> None:
    scene.bury(30)
    before = (
        "import streams.operations.redrive\nstreams.operations.redrive._BATCH_RECORDS = 10\n"
        + signal_at("aiokafka:AIOKafkaProducer.commit_transaction", signal.SIGSTOP, call=2)
        + "\nfrom streams.cli import main\nmain()"
    )
    command = [sys.executable, "-c", before, "dead", "redrive", "--all"]
    with subprocess.Popen(
        command, env={**os.environ, **scene.env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as first:
        os.waitid(os.P_PID, first.pid, os.WSTOPPED | os.WNOWAIT)
        assert scene.run("redrive", "--all").stderr == "20 sent back, 10 had been sent before\n"
        first.send_signal(signal.SIGCONT)
        _, said = first.communicate(timeout=30)
    assert first.returncode == 1
    assert "10 sent back" in said
    assert "error: another redrive has started and taken over" in said
    assert [each.key for each in scene.sent()] == [f"call-{n}".encode() for n in range(30)]


def test_a_closed_pipe_is_no_traceback(scene: Scene) -> None:
    scene.bury(3000)
    command = [sys.executable, "-m", "streams", "dead", "list", "--json"]
    with subprocess.Popen(
        command, env={**os.environ, **scene.env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        assert listing.stdout.readline()
        listing.stdout.close()
        assert listing.stderr.read() == b""


def write(brokers: str, topic: str, *written: Output) -> None:
    """Records as only the engine can write them."""

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=brokers, transactional_id=topic)
        async with producer, producer.transaction():
            for batch in pack(topic, written, Limits(retention=-1), NOW):
                await producer.send_batch(batch, topic, partition=0)

    asyncio.run(send())


def lying_in(scene: Scene, topic: str) -> list[LogRecord]:
    """The records of a topic, header names of any bytes included."""

    async def read() -> list[LogRecord]:
        async with reader(Settings.load(scene.env)) as consumer:
            return [each async for each in records(consumer, await ranges(consumer, topic))]

    return asyncio.run(read())


ODD = (decode_name(b"Ger\xe4t"), b"\xff")


def buried_without_value(scene: Scene, form: int) -> Output:
    """A record at offset 1 of the calls topic, and its dead letter in its `form`th smaller form; returns the record."""
    record: Output = (b"call-7", b"x" * 5000, NOW - HOUR, [("trace", b"7"), ODD])
    key, value, at, headers = record
    letter = (key, value, NOW, dead_headers(headers, Rejected("malformed", "no JSON"), scene.calls, 0, 1, at))
    for _ in range(form):
        smaller = smaller_letter(letter)
        assert smaller is not None
        letter = smaller
    write(scene.brokers, scene.calls, (b"other", b"{}", NOW, []), record)
    write(scene.brokers, scene.dead, letter)
    return record


@pytest.mark.parametrize("form", [0, 1, 2])
def test_a_letter_without_its_value_is_read_at_its_origin(scene: Scene, form: int) -> None:
    key, value, at, headers = buried_without_value(scene, form)
    [row] = scene.rows()
    assert (row["time"], row["rejected_at"]) == (instant(at), instant(NOW))
    shown = json.loads(scene.run("show", "0:0", "--json").stdout)
    assert shown["headers"] == [["trace", "7"], ["Ger\\xe4t", "\\xff"]]
    assert (shown["key"], shown["bytes"]) == ("call-7", 5000)
    assert shown["value"] == ("at its origin" if form else "in the dead letter")
    assert "header Ger\\xe4t\t\\xff\n" in scene.run("show", "0:0").stdout
    assert scene.run("show", "0:0", "--value").stdout_bytes == value
    assert scene.run("redrive", "--all", "--dry-run").stderr == "1 would be sent back\n"
    assert scene.run("redrive", "--all").stderr == "1 sent back, 0 had been sent before\n"
    *_, again = lying_in(scene, scene.calls)
    from_ = ("redriven-from", f"{scene.dead}/0/0".encode())
    assert (again.key, again.value, again.timestamp, again.headers) == (key, value, at, [*headers, from_])


@pytest.mark.parametrize("gone", ["removed", "another"])
def test_a_letter_whose_record_is_gone_says_so(scene: Scene, gone: str) -> None:
    buried_without_value(scene, 1)
    if gone == "removed":
        delete_records(scene.brokers, scene.calls, 0, 2)
    else:  # the topic was made again
        said = dead_headers([], Rejected("malformed", "no JSON"), scene.calls, 0, 0, NOW)
        write(scene.brokers, scene.dead, (b"k", b"", NOW, [*said, ("dead-value-bytes", b"4")]))
    place = "0:0" if gone == "removed" else "0:2"
    assert json.loads(scene.run("show", place, "--json").stdout)["value"] == "gone"
    shown = scene.run("show", place, "--value")
    assert (shown.exit_code, shown.stdout, shown.stderr.count("\n")) == (1, "", 1)
    assert f"is gone from {scene.calls} partition 0 offset" in shown.stderr
    for args in ((place,), (place, "--dry-run")):
        result = scene.run("redrive", *args)
        assert result.exit_code == 1
        assert "1 dead letters are without their value" in result.stderr
    assert scene.rows("--partition", "0")[-1]["redriven"] is False


def test_a_letter_whose_record_is_too_large_to_be_read_says_so(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    buried_without_value(scene, 1)
    monkeypatch.setattr(engine_records, "MAX_RECORD_BYTES", 4000)
    assert json.loads(scene.run("show", "0:0", "--json").stdout)["value"] == "too large to be read"
    shown = scene.run("show", "0:0", "--value")
    assert (shown.exit_code, shown.stdout, shown.stderr.count("\n")) == (1, "", 1)
    assert f"{scene.calls} partition 0 offset 1 takes more than the 16 MiB" in shown.stderr
    assert "5000 bytes" in shown.stderr
    for args in (("0:0",), ("0:0", "--dry-run")):
        result = scene.run("redrive", *args)
        assert (result.exit_code, "larger than is read (16 MiB)" in result.stderr) == (1, True)


def test_when_a_record_was_rejected_is_what_chooses_it(scene: Scene) -> None:
    """Its own time may be any: of 1970 where a producer counts in seconds."""
    said = dead_headers([], Rejected("schema", "no status"), scene.calls, 0, 4, 1_764_000)
    produce(scene.brokers, scene.dead, [Record(b"{}", b"old", NOW - HOUR, said, 0)])
    [row] = scene.rows("--since", "2h", "--until", "5m")
    assert (row["time"], row["rejected_at"]) == ("1970-01-01T00:29:24.000Z", instant(NOW - HOUR))
    assert scene.rows("--since", "5m") == []
    assert scene.run("redrive", "--all").stderr == "1 sent back, 0 had been sent before\n"
    assert [each.timestamp for each in scene.sent()] == [1_764_000]


def test_what_fits_only_compressed_is_sent_compressed(scene: Scene) -> None:
    value = b"long" * 500_000
    said = dead_headers([], Rejected("malformed", "no JSON"), scene.calls, 0, 4, NOW)
    size = {"compression.type": "gzip", "message.max.bytes": 3_000_000}
    produce(scene.brokers, scene.dead, [Record(value, b"k", NOW, said, 0)], **size)
    assert scene.run("redrive", "--all").stderr == "1 sent back, 0 had been sent before\n"
    assert [each.value for each in scene.sent()] == [value]


@pytest.mark.parametrize(
    ("timestamp", "config", "said"),
    [
        (NOW, {"max.message.bytes": "1000"}, "takes batches of 1000 bytes"),
        (NOW + 24 * HOUR, {"message.timestamp.after.max.ms": "60000"}, "refuses the timestamp of a record"),
    ],
    ids=["size", "timestamp"],  # the same in each process of the tests, unlike the present time
)
def test_what_the_calls_topic_does_not_take_is_not_sent(
    scene: Scene, timestamp: int, config: dict[str, str], said: str
) -> None:
    headers = dead_headers([], Rejected("too-early", "ahead"), scene.calls, 0, 4, timestamp)
    fine = dead_headers([], Rejected("too-early", "ahead"), scene.calls, 1, 4, NOW)
    letters = [Record(os.urandom(5_000), b"k", NOW, headers, 0), Record(b"{}", b"fine", NOW, fine, 0)]
    produce(scene.brokers, scene.dead, letters)
    configure(scene.brokers, scene.calls, config)
    result = scene.run("redrive", "--all")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert said in result.stderr
    assert "Traceback" not in result.output
    # No open transaction hides what comes behind.
    configure(scene.brokers, scene.calls, {"max.message.bytes": "100000"})
    produce(scene.brokers, scene.calls, [Record(b"next", None, NOW, (), 1)])
    assert [each.value for each in scene.sent()] == [b"next"]
