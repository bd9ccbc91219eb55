"""Which partition of an output a record goes to, and that a checkpoint is written whole, whatever its topics refuse."""

import asyncio
import os
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import MessageSizeTooLargeError, ProducerFenced
from support.kafka import committed_offsets, configure, create_topics, grow, read_topic

from streams.engine.clock import Clock
from streams.engine.config import Config
from streams.engine.fetch import drain
from streams.engine.limits import Topics
from streams.engine.packing import RecordTooLargeError
from streams.engine.protocol import Membership
from streams.engine.records import decode_name
from streams.engine.restore import reader
from streams.engine.writer import Share, TopicRefusedError, Writer, _Attempt, _Sent, partition_of
from streams.records import NOW, Output, Row

CONFIG = Config(
    "group", "in", {"out": "o"}, "changelog", lambda _: None, {"bootstrap_servers": "localhost:1"}
)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("key", "murmur2"),  # as Java has them
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"abc", 479470107),
        (b"a-little-bit-long-string", -985981536),
    ],
)
def test_keys_lie_where_the_default_partitioner_of_java_puts_them(key: bytes, murmur2: int) -> None:
    assert partition_of(key, 1000) == (murmur2 & 0x7FFFFFFF) % 1000


def shares(config: Config, partition: int, keys: list[bytes | None]) -> dict[int, list[bytes | None]]:
    """The keys that go to each of four partitions."""

    async def ask() -> dict[int, list[bytes | None]]:
        writer = Writer(config, "one", Topics([]), Clock(config.wall_clock))

        async def four(_topic: str) -> int:
            return 4

        writer._partitions = four  # type: ignore[method-assign]
        records: list[Output] = [(key, b"", 0, []) for key in keys]
        found = await writer._parts(partition, "out", records)
        await writer.stop()
        return {number: [each[0] for each in share] for number, share in found.items()}

    return asyncio.run(ask())


def test_the_partition_follows_the_source_or_the_key() -> None:
    keys = [b"a", None, b"b", b"a", b"c", None]
    assert shares(CONFIG, 6, keys) == {2: keys}
    assert shares(CONFIG, 6, []) == {}
    keyed = shares(replace(CONFIG, keyed=("out",)), 6, keys)
    for number, share in keyed.items():
        assert all(number == (2 if key is None else partition_of(key, 4)) for key in share)
        assert share == [key for key in keys if key in share]  # in order
    assert sum(map(len, keyed.values())) == len(keys)


@pytest.mark.parametrize(
    ("refused", "number"),
    [("", 15), ("c", 13), ("bc", 11), ("abc", 8), ("ab", 15), ("b", 15)],
)
def test_the_next_number_is_that_after_the_last_batch_that_was_written(refused: str, number: int) -> None:
    """Also where one was refused before it, which brokers before Kafka 3.6 allow."""
    place, other = TopicPartition("o", 0), TopicPartition("o", 1)

    async def undo() -> dict[TopicPartition, int]:
        writer = Writer(CONFIG, "one", Topics([]), Clock(CONFIG.wall_clock))
        attempt = _Attempt({place: 8})
        for name, records in {"a": 3, "b": 2, "c": 2}.items():
            ack: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            if name in refused:
                ack.set_exception(MessageSizeTooLargeError())
            else:
                ack.set_result(None)
            attempt.sent.append(_Sent(place, ack, records, 100))
        ack = asyncio.get_running_loop().create_future()
        ack.set_result(None)
        attempt.sent.append(_Sent(other, ack, 4, 100))

        async def aborted() -> None:
            pass

        writer._producer.abort_transaction = aborted
        await writer._undo(attempt)
        await writer.stop()
        return dict(writer._transactions._sequence_numbers)

    assert asyncio.run(undo()) == {place: number, other: 4}


# -- through a broker


class Checkpoint(NamedTuple):
    outputs: dict[str, list[Output]]
    rows: list[Row]
    stored: tuple[()] = ()
    partition_state: bytes = b""


async def write(writer: Writer, checkpoint: Checkpoint, position: bytes, next_offset: int, note: str) -> int:
    (end,) = await writer.write([Share(0, checkpoint, position, next_offset, note, "what comes of it")])
    return end


class Place:
    """A writer's topics and group, of their own."""

    def __init__(self, brokers: str, name: str, **config: Any) -> None:
        self.brokers = brokers
        self.config = replace(
            CONFIG,
            group=name,
            source=f"{name}.in",
            topics={"out": f"{name}.out"},
            changelog=f"{name}.changelog",
            client={"bootstrap_servers": brokers.split(",")},
            **config,
        )
        create_topics(brokers, self.config.source)

    def create(self, out: Mapping[str, str], changelog: Mapping[str, str]) -> None:
        create_topics(self.brokers, self.out, config={"retention.ms": "-1", **out})
        create_topics(self.brokers, self.config.changelog, config={"cleanup.policy": "compact", **changelog})

    @property
    def out(self) -> str:
        return self.config.topics["out"]

    def run(self, work: Callable[[Writer], Coroutine[Any, Any, None]], knows: bool = True) -> Writer:
        """Have a writer do some work; if it `knows`, it has learned what the topics take."""

        async def go() -> Writer:
            writer = self.writer()
            await writer.start()
            try:
                if knows:
                    await writer.topics.learn(writer.client)
                async with asyncio.timeout(60):
                    await work(writer)
            finally:
                await writer.stop()
            # A transaction is seen a moment after its commit is answered; its owner's successor waits for that.
            last = self.writer()
            await last.start()
            await last.stop()
            return writer

        return asyncio.run(go())

    def writer(self) -> Writer:
        topics = Topics([self.out, self.config.changelog])
        return Writer(self.config, "one", topics, Clock(self.config.wall_clock))

    def found(self) -> list[tuple[Any, ...]]:
        """What a reader sees."""
        return [(r.key, r.value, r.timestamp, list(r.headers)) for r in read_topic(self.brokers, self.out)]

    def state(self) -> list[bytes | None]:
        return [r.value for r in read_topic(self.brokers, self.config.changelog)]

    def committed(self) -> int:
        return committed_offsets(self.brokers, self.config.group, self.config.source).get(0, 0)


@pytest.fixture
def place(kafka: str, topic_name: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Place]:
    """Nobody is in the group, so Kafka takes offsets from anybody; see test_offsets.py for members."""
    monkeypatch.setattr(Membership, "is_known", True)

    def make(
        out: Mapping[str, str] | None = None, changelog: Mapping[str, str] | None = None, **config: Any
    ) -> Place:
        made = Place(kafka, topic_name, **config)
        made.create(out or {}, changelog or {})
        return made

    return make


def noise(count: int, size: int) -> list[Output]:
    now = int(time.time() * 1000)
    return [(b"%d" % n, os.urandom(size), now + n, []) for n in range(count)]


@pytest.mark.kafka
@pytest.mark.parametrize("can_ask", [True, False])
def test_a_topic_that_takes_less_while_the_worker_runs_gets_the_same_cut_in_smaller_batches(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, can_ask: bool
) -> None:
    """Before, it ended every worker, at every start."""
    here, before, checkpoint = place(), noise(100, 100), noise(500, 1_000)
    if not can_ask:

        async def learn(*_: object) -> None: ...

        monkeypatch.setattr(Topics, "learn", learn)

    async def work(writer: Writer) -> None:
        await write(writer, Checkpoint({"out": before}, [(b"a", b"1")]), b"at 100", 100, "note")
        configure(here.brokers, here.out, {"max.message.bytes": "20000"})
        end = await write(writer, Checkpoint({"out": checkpoint}, [(b"a", b"2")]), b"at 600", 600, "note")
        assert (
            end == await write(writer, Checkpoint({"out": []}, []), b"again", 601, "note") - 2
        )  # and a marker
        await write(writer, Checkpoint({"out": before}, []), b"at 700", 700, "note")

    here.run(work)
    assert here.found() == before + checkpoint + before
    assert here.state() == [b"1", b"at 100", b"2", b"at 600", b"again", b"at 700"]
    assert here.committed() == 700


@pytest.mark.kafka
def test_timestamps_that_a_topic_refuses_are_the_wall_clocks(place: Callable[..., Place]) -> None:
    now = 1_764_000_000_000
    ahead = [(b"k", b"v", int(time.time() * 1000) + 1_800_000, []), (b"k", b"v", now, [])]
    here = place({"message.timestamp.after.max.ms": str(2**63 - 1)})

    async def work(writer: Writer) -> None:
        configure(here.brokers, here.out, {"message.timestamp.after.max.ms": "60000"})
        await write(writer, Checkpoint({"out": list(ahead)}, []), b"at 2", 2, "note")

    here.run(work)
    stamps = [record[2] for record in here.found()]
    assert abs(stamps[0] - time.time() * 1000) < 60_000
    assert stamps[1] == now


@pytest.mark.kafka
def test_a_record_that_a_topic_takes_in_no_form_leaves_nothing_behind(place: Callable[..., Place]) -> None:
    here = place({"max.message.bytes": "2000"})

    async def work(writer: Writer) -> None:
        with pytest.raises(RecordTooLargeError, match=re.escape(here.out)):
            await write(
                writer, Checkpoint({"out": [*noise(3, 100), *noise(1, 5_000)]}, []), b"at 4", 4, "note"
            )

    here.run(work)
    here.run(lambda writer: write(writer, Checkpoint({"out": noise(1, 100)}, []), b"at 1", 1, "note"))  # type: ignore[arg-type, return-value]
    assert len(here.found()) == 1
    assert here.state() == [b"at 1"]
    assert here.committed() == 1


@pytest.mark.kafka
def test_a_smaller_form_is_written_where_one_is_known(place: Callable[..., Place]) -> None:
    here = place({"max.message.bytes": "2000"}, shrink={"out": lambda record: (record[0], None, *record[2:])})
    here.run(lambda writer: write(writer, Checkpoint({"out": noise(2, 5_000)}, []), b"at 2", 2, "note"))  # type: ignore[arg-type, return-value]
    assert [record[:2] for record in here.found()] == [(b"0", None), (b"1", None)]


@pytest.mark.kafka
def test_a_topic_that_refuses_for_ever_ends_the_worker_with_its_name(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, attempts = place({"max.message.bytes": "100"}), 0

    async def refused(*_: object) -> None:
        nonlocal attempts
        attempts += 1

    monkeypatch.setattr(Topics, "refused", refused)

    async def work(writer: Writer) -> None:
        with pytest.raises(TopicRefusedError, match=re.escape(here.out)):
            await write(writer, Checkpoint({"out": noise(1, 500)}, []), b"at 1", 1, "note")

    here.run(work, knows=False)
    assert here.found() == []
    assert attempts == 12


@pytest.mark.kafka
def test_a_zombie_whose_batch_was_refused_does_not_write_it_again(place: Callable[..., Place]) -> None:
    """To start its producer again would fence the partition's owner."""
    here = place({"max.message.bytes": "20000"})

    async def work(writer: Writer) -> None:
        undo, heir = writer._undo, here.writer()

        async def slowly(attempt: Any) -> None:
            await heir.start()
            await undo(attempt)

        writer._undo = slowly  # type: ignore[method-assign]
        try:
            with pytest.raises(ProducerFenced):
                await write(writer, Checkpoint({"out": noise(500, 1_000)}, []), b"at 500", 500, "note")
            await write(heir, Checkpoint({"out": noise(1, 10)}, []), b"at 1", 1, "note")
        finally:
            await heir.stop()

    here.run(work, knows=False)
    assert len(here.found()) == 1
    assert here.committed() == 1


@pytest.mark.kafka
def test_names_of_headers_keep_their_bytes_to_the_topic_and_back(place: Callable[..., Place]) -> None:
    here = place()
    headers = [(decode_name(b"Ger\xe4t"), b"1"), ("name", None), ("", b""), ("name", b"2")]
    records = [*noise(3, 10), (None, b"v", 5, headers), *noise(3, 10)]

    async def work(writer: Writer) -> None:
        await write(writer, Checkpoint({"out": records}, []), b"at 7", 7, "note")
        async with reader(here.config) as consumer:
            consumer.assign([TopicPartition(here.out, 0)])
            consumer.seek(TopicPartition(here.out, 0), 0)
            found: list[Any] = []
            while len(found) < 7:
                await asyncio.wait([consumer._fetcher._create_fetch_waiter()], timeout=0.1)
                found += [each for batch in drain(consumer._fetcher, (), 100) for each in batch.records]
        assert [(key, value, at, headers) for _, at, key, value, headers in found] == records

    here.run(work)


@pytest.mark.kafka
def test_after_the_greatest_number_of_a_record_comes_0(place: Callable[..., Place]) -> None:
    """aiokafka goes on with the least int32, which brokers refuse: after two thousand million records of one worker."""
    here = place()

    async def work(writer: Writer) -> None:
        writer._transactions._sequence_numbers[TopicPartition(here.out, 0)] = 2**31 - 3
        for n in range(4):
            await write(writer, Checkpoint({"out": noise(2, 10)}, []), b"at", n, "note")

    here.run(work)
    assert len(here.found()) == 8


@pytest.mark.kafka
@pytest.mark.parametrize("off", [-600_000, 0, 172_800_000])
def test_the_brokers_tell_the_time_and_leave_nothing_behind(
    place: Callable[..., Place], caplog: pytest.LogCaptureFixture, off: int
) -> None:
    here = place(
        changelog={"message.timestamp.type": "LogAppendTime"},
        wall_clock=lambda: int(time.time() * 1000) + off,
    )

    async def work(writer: Writer) -> None:
        assert writer.clock.is_doubtful
        await writer.probe(0)
        assert not writer.clock.is_doubtful
        assert abs(writer.clock.now() - time.time() * 1000) < 1_000
        assert abs(writer.clock.offset - off) < 1_000
        await write(writer, Checkpoint({"out": [(b"k", b"v", NOW, [])]}, [(b"a", b"1")]), b"at 1", 1, "note")

    here.run(work)
    assert here.state() == [b"1", b"at 1"]
    ((_, _, stamp, _),) = here.found()
    assert abs(stamp - time.time() * 1000) < 10_000
    assert ("this machine's clock is" in caplog.text) == (off != 0)


@pytest.mark.kafka
def test_a_changelog_that_tells_no_time_is_named_once_with_what_to_do(
    place: Callable[..., Place], caplog: pytest.LogCaptureFixture
) -> None:
    here = place()

    async def work(writer: Writer) -> None:
        await writer.probe(0)
        assert not writer.clock.is_doubtful
        await write(writer, Checkpoint({"out": []}, []), b"at 1", 1, "note")
        configure(here.brokers, here.config.changelog, {"message.timestamp.type": "LogAppendTime"})
        for n in range(50):
            await write(writer, Checkpoint({"out": []}, []), b"at 2", 2 + n, "note")
            if not writer.clock.is_blind:
                break
            await asyncio.sleep(0.1)
        assert not writer.clock.is_blind

    here.run(work)
    assert caplog.text.count("telefonie topics alter") == 1


@pytest.mark.kafka
def test_an_answer_without_a_time_does_not_make_the_clock_forget_what_it_knows(
    place: Callable[..., Place], caplog: pytest.LogCaptureFixture
) -> None:
    here = place(
        changelog={"message.timestamp.type": "LogAppendTime"},
        wall_clock=lambda: int(time.time() * 1000) + 600_000,
    )

    async def work(writer: Writer) -> None:
        await writer.probe(0)
        configure(here.brokers, here.config.changelog, {"message.timestamp.type": "CreateTime"})
        for n in range(10):
            await write(writer, Checkpoint({"out": []}, []), b"at", n, "note")
            await asyncio.sleep(0.05)
        assert abs(writer.clock.offset - 600_000) < 1_000

    here.run(work)
    assert "telefonie topics alter" not in caplog.text


@pytest.mark.kafka
def test_not_more_is_under_way_than_one_request_may_have(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be a batch for each of very many partitions in one, and a broker hangs up on 100 MiB."""
    here = place(keyed=("out",))
    most, records = 0, noise(60, 10_000)
    monkeypatch.setattr("streams.engine.writer._UNDER_WAY", 50_000)
    grow(here.brokers, here.out, 16)

    async def work(writer: Writer) -> None:
        nonlocal most
        accumulator = writer._producer._message_accumulator
        drained = accumulator.drain_by_nodes

        def drain_by_nodes(*args: Any, **options: Any) -> Any:
            nonlocal most
            nodes, unknown = drained(*args, **options)
            most = max(
                [most, *(sum(each._builder.size() for each in node.values()) for node in nodes.values())]
            )
            return nodes, unknown

        accumulator.drain_by_nodes = drain_by_nodes
        await write(writer, Checkpoint({"out": records}, []), b"at 60", 60, "note")

    here.run(work)
    assert sorted(here.found()) == sorted(records)
    assert 40_000 < most < 80_000
