"""Writing checkpoints: outputs, changelog and offsets of all partitions of a worker, in one transaction."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    BrokerResponseError,
    IllegalOperation,
    InvalidTxnState,
    OutOfOrderSequenceNumber,
    TopicAuthorizationFailedError,
)
from aiokafka.partitioner import murmur2
from aiokafka.structs import OffsetAndMetadata

from streams.engine import clients
from streams.engine.clock import Clock
from streams.engine.config import Config
from streams.engine.failures import NotAllowedError, about
from streams.engine.limits import REFUSALS, Topics
from streams.engine.offsets import NotAMemberError, Offsets
from streams.engine.packing import Shrink, pack
from streams.engine.processor import Checkpoint
from streams.engine.protocol import Membership
from streams.engine.takeover import transactional_id
from streams.errors import OperatorError
from streams.records import NOW, Output

log = logging.getLogger(__name__)

#: Bytes that are under way to the brokers: there may be a batch for each of very many partitions in one request, and
#: a broker closes the connection for one of more than `socket.request.max.bytes` (100 MiB).
_UNDER_WAY: Final = 16 << 20
#: To write one checkpoint: batches may have to be halved several times.
_ATTEMPTS: Final = 12
_NO_HEADERS: Final[list[tuple[str, bytes | None]]] = []


class TopicRefusedError(OperatorError):
    """A topic refuses whatever is written to it."""


class _RefusedError(Exception):
    """A broker has refused a batch because of a setting of its topic."""

    def __init__(self, topic: str, error: BrokerResponseError) -> None:
        super().__init__(topic, error)
        self.topic, self.error = topic, error


class _Sent(NamedTuple):
    """A batch that is under way: how many records and bytes it has."""

    place: TopicPartition
    ack: asyncio.Future[Any]
    records: int
    size: int

    def failure(self) -> BaseException | None:
        """Why it was not written; it is acknowledged or refused by now."""
        return self.ack.exception()


class _Attempt:
    """To write a checkpoint."""

    def __init__(self, numbers: Mapping[TopicPartition, int]) -> None:
        #: Of the next record of each partition before it, by which brokers find gaps and repetitions.
        self.numbers = numbers
        self.sent: list[_Sent] = []

    async def room(self, size: int) -> None:
        """Wait until so many bytes more may be under way."""
        while True:
            waiting = [each for each in self.sent if not each.ack.done()]
            if not waiting or sum(each.size for each in waiting) + size <= _UNDER_WAY:
                return
            await asyncio.wait([each.ack for each in waiting], return_when=asyncio.FIRST_COMPLETED)

    async def acknowledged(self) -> None:
        """Wait for all answers. Raises _RefusedError where it helps to write something else, or what went wrong."""
        await asyncio.wait([each.ack for each in self.sent])
        failed = [(each.place.topic, error) for each in self.sent if (error := each.failure()) is not None]
        for _, error in failed:
            # What follows on a refused batch is out of order.
            if not isinstance(error, (*REFUSALS, OutOfOrderSequenceNumber)):
                raise error
        for topic, error in failed:
            if isinstance(error, REFUSALS):
                raise _RefusedError(topic, error)
        for _, error in failed:
            raise error


def _after(number: int, records: int) -> int:
    """The number that follows on a batch which begins with `number`: after the greatest comes 0."""
    return (number + records) % (1 << 31)


def _name(where: str, what: str, ack: asyncio.Future[Any]) -> None:
    """A refused batch says what it was for, also where something else ends the attempt and nobody asks for it."""
    if not ack.cancelled() and (error := ack.exception()) is not None:
        about(error, where)
        about(error, what)


class Share(NamedTuple):
    """What one partition of the source has to say in a commit."""

    #: The partition.
    number: int
    checkpoint: Checkpoint
    #: The changelog's position row.
    position: bytes
    #: The group's offset, and its metadata.
    next_offset: int
    note: str
    #: What an error is about.
    about: str


class Writer:
    """The transactional producer of a worker, for one stage: it writes for all partitions that the worker has.

    The group fences it: the offsets of a transaction are taken from a member of the present generation only.
    """

    def __init__(self, config: Config, identity: str, topics: Topics, clock: Clock) -> None:
        self.config, self.topics, self.clock = config, topics, clock
        self._producer = AIOKafkaProducer(
            **config.client,
            client_id=config.group,
            transactional_id=transactional_id(config, identity),
            transaction_timeout_ms=config.transaction_timeout_ms,
            acks="all",
            linger_ms=0,
            # Kafka 4 refuses the first batches of a transaction that follows closely on another, to be tried again.
            retry_backoff_ms=20,
            metadata_max_age_ms=60_000,
        )
        clients.look_up_patiently(self._producer)
        self._offsets = Offsets(self._producer)
        self._transactions = self._producer._txn_manager
        self._transactions.increment_sequence_number = self._count

    @property
    def client(self) -> Any:
        """aiokafka's client of the producer, to ask the brokers other things."""
        return self._producer.client

    @property
    def member(self) -> Membership:
        """The member of the group that commits; it may change while no transaction is under way."""
        return self._offsets.member

    @member.setter
    def member(self, member: Membership) -> None:
        self._offsets.member = member

    async def start(self) -> None:
        """Ends the transaction that a former worker of the same identity has left open, and fences it."""
        await clients.start(self._producer)

    async def look_again(self, numbers: Collection[int]) -> None:
        """Learn of partitions that were added to the topics since this producer started, until these have a changelog.

        Brokers hear of them one after the other.
        """
        while True:
            has_learned = await self.client.force_metadata_update()
            if has_learned and set(numbers) <= await self._producer.partitions_for(self.config.changelog):
                return
            await asyncio.sleep(clients.RETRY_SECONDS)

    async def stop(self) -> None:
        """Close the connections. A transaction that is open is left to be ended by others."""
        self._refusal()  # known already
        await self._producer.stop()

    def _refusal(self) -> BaseException | None:
        """Why the transaction cannot be committed; None as long as it can. It need not be logged as unheard then."""
        ended = self._transactions.wait_for_transaction_end()
        return ended.exception() if ended is not None and ended.done() and not ended.cancelled() else None

    async def write(self, shares: Sequence[Share]) -> list[int]:
        """Commit a checkpoint of partitions; returns the changelog's next offset of each.

        The order of steps is the guarantee (semantics, 7):

        1. the transaction begins;
        2. outputs and changelog rows are sent, the last row of each partition being its position;
        3. every batch is acknowledged: aiokafka would commit without one that was refused;
        4. the group's offsets join the transaction, with our generation, which the group must know as the present one.
           Not before 3: an offset that was taken may become final after we have lost the partition, and all rows must
           then lie where the next owner finds that they are not final yet;
        5. the transaction commits: all of it becomes visible, or, whatever dies before, nothing.

        Where a topic takes less than it did, or other timestamps, the transaction is aborted, and the same checkpoint
        is written again. Raises NotAMemberError, with nothing written, when the group has moved on without us. Raises
        on any other failure; the transaction stays open, to be ended by others.
        """
        for _ in range(_ATTEMPTS):
            attempt = await self._begin()
            try:
                ends = await self._fill(attempt, shares)
                await self._commit_offsets(shares)
            except _RefusedError as refused:
                await self._undo(attempt)
                await self.topics.refused(refused.topic, refused.error, self.client)
            except NotAMemberError:
                await self._undo(attempt)
                raise
            except (IllegalOperation, InvalidTxnState) as error:
                # Something was refused before: that is the reason, and the transaction knows it. A partition that may
                # not be written is not added to it, nor are the others, whose batches are refused for that.
                raise self._refusal() or error from error
            else:
                await self._producer.commit_transaction()
                return ends
        raise TopicRefusedError(
            f"the topics that are written ({', '.join(self.topics.names)}) have refused {_ATTEMPTS} attempts to fit "
            "batches and timestamps to them: `telefonie topics check` says what they need"
        )

    async def probe(self, number: int) -> None:
        """Have the brokers tell the time: a record is sent to the changelog, and its transaction is aborted.

        `number` is a partition that is ours.
        """
        attempt = await self._begin()
        await self._send(attempt, "what time it is", self.config.changelog, number, [(b"", b"", NOW, [])])
        await attempt.acknowledged()
        await self._undo(attempt)

    def _count(self, place: TopicPartition, records: int) -> None:
        """See `_after`. To aiokafka it is the least int32 that comes after the greatest."""
        numbers = self._transactions._sequence_numbers
        numbers[place] = _after(numbers[place], records)

    async def _begin(self) -> _Attempt:
        await self._producer.begin_transaction()
        return _Attempt(dict(self._transactions._sequence_numbers))

    async def _undo(self, attempt: _Attempt) -> None:
        """Abort: nothing of it is seen, the group's offset included. Raises ProducerFenced when we are a zombie.

        A partition's next number is that after the last batch which was written: those of refused batches are used
        again, since to the brokers they never were. A batch may be written behind one that was refused: brokers before
        Kafka 3.6 take any number from a producer of which they know nothing.
        """
        self._refusal()  # known already
        await self._producer.abort_transaction()
        numbers, next_numbers = self._transactions._sequence_numbers, dict(attempt.numbers)
        for each in attempt.sent:
            numbers[each.place] = attempt.numbers.get(each.place, 0)
        for each in attempt.sent:
            next_numbers[each.place] = _after(next_numbers.get(each.place, 0), each.records)
            if each.failure() is None:
                numbers[each.place] = next_numbers[each.place]

    async def _fill(self, attempt: _Attempt, shares: Sequence[Share]) -> list[int]:
        """All records of the open transaction; returns the changelog's next offsets. Raises _RefusedError."""
        # Side by side: where one partition has several batches, each waits until the one before is under way.
        sent = await asyncio.gather(
            *(self._send_share(attempt, each) for each in shares),
            self._offsets.announce(self.config.group),
            return_exceptions=True,
        )
        for each in sent:
            if isinstance(each, BaseException):
                raise each
        await attempt.acknowledged()
        lasts = [each for each in sent if isinstance(each, _Sent)]
        return [int(last.ack.result().offset) + last.records for last in lasts]

    async def _send_share(self, attempt: _Attempt, share: Share) -> _Sent:
        """Returns the batch with the position."""
        try:
            for name, records in share.checkpoint.outputs.items():
                topic, shrink = self.config.topics[name], self.config.shrink.get(name)
                for partition, part in (await self._parts(share.number, name, records)).items():
                    await self._send(attempt, share.about, topic, partition, part, shrink)
            now = self.clock.now()
            rows: Iterator[Output] = (
                (key, value, now, _NO_HEADERS)
                for key, value in chain(share.checkpoint.rows, [(self.config.position_key, share.position)])
            )
            return await self._send(attempt, share.about, self.config.changelog, share.number, rows)
        except Exception as error:
            about(error, share.about)
            raise

    async def _commit_offsets(self, shares: Sequence[Share]) -> None:
        offsets = {
            TopicPartition(self.config.source, each.number): OffsetAndMetadata(each.next_offset, each.note)
            for each in shares
        }
        try:
            await self._producer.send_offsets_to_transaction(offsets, self.config.group)
        except TopicAuthorizationFailedError as error:
            # Of another topic it is Write that is missing, and `Engine.fail` says so.
            if error.args == (self.config.source,):
                raise NotAllowedError.of(error, "topic", "Read") from error
            raise

    async def _parts(
        self, number: int, name: str, records: Sequence[Output]
    ) -> Mapping[int, Sequence[Output]]:
        """What of an output goes to which partition of its topic, in order."""
        topic = self.config.topics[name]
        if not records:
            return {}
        own = number % await self._partitions(topic)
        if name not in self.config.keyed:
            return {own: records}
        count = await self._partitions(topic)
        parts: dict[int, list[Output]] = {}
        for record in records:
            key = record[0]
            partition = own if key is None else partition_of(key, count)
            parts.setdefault(partition, []).append(record)
        return parts

    async def _send(
        self,
        attempt: _Attempt,
        about_what: str,
        topic: str,
        partition: int,
        records: Iterable[Output],
        shrink: Shrink | None = None,
    ) -> _Sent:
        """Send records in as few batches as they fit into; returns the last. One future a batch, not one a record."""
        place = TopicPartition(topic, partition)
        for batch in pack(topic, records, self.topics.of(topic), self.clock.now(), shrink):
            await attempt.room(batch.size())
            asked, count, size = self.clock.asked(), batch.record_count(), batch.size()
            ack = await self._producer.send_batch(batch, topic, partition=partition)
            ack.add_done_callback(partial(_name, f"topic {topic} partition {partition}", about_what))
            sent = _Sent(place, ack, count, size)
            attempt.sent.append(sent)
            if topic == self.config.changelog:
                ack.add_done_callback(partial(self._hear, asked))
        return sent

    def _hear(self, asked: int, ack: asyncio.Future[Any]) -> None:
        """The changelog's acknowledgement tells the brokers' time, where the topic has it."""
        if ack.cancelled() or ack.exception() is not None:
            return
        if (time := ack.result().timestamp) >= 0:
            self.clock.heard(asked, time)
        elif self.clock.is_doubtful:  # an answer without a time, once, changes nothing
            self.clock.go_blind()
            log.warning(
                "the changelog %s has message.timestamp.type CreateTime, so the brokers do not tell the time, and this "
                "machine's clock is trusted: `telefonie topics alter` gives it LogAppendTime",
                self.config.changelog,
            )

    async def _partitions(self, topic: str) -> int:
        return len(await self._producer.partitions_for(topic))


#: Of a longer key it is not remembered: it may be of any size.
_SHORT_KEY: Final = 64


def partition_of(key: bytes, count: int) -> int:
    """Where Kafka's default partitioner puts a key, in a topic of `count` partitions."""
    return _remembered(key, count) if len(key) <= _SHORT_KEY else _computed(key, count)


def _computed(key: bytes, count: int) -> int:
    number: int = (murmur2(key) & 0x7FFFFFFF) % count
    return number


#: murmur2 takes 10 us, and the same key comes several times within a short while.
_remembered = lru_cache(maxsize=1 << 16)(_computed)
