"""The Faust transport `batch`: one message is what a fetch has brought, and a commit is a checkpoint of the engine.

Registered as an entry point of the group `faust.transports`. What Faust does per record (an object, a queue entry,
an acknowledgement, the gaps between offsets) it does once a batch here, and none of it decides about offsets.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import GroupLoadInProgressError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.serializers.schemas import Schema
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service

from streams.engine.clients import stop_at_once
from streams.engine.fetch import RecordBatch, fetch
from streams.engine.hidden import End, written_ends
from streams.engine.identity import partition_count, topic_id
from streams.engine.members import (
    Member,
    MembersUnknownError,
    assignor,
    members,
    twin,
    yield_to_twin,
)
from streams.engine.offsets import stable
from streams.engine.protocol import Membership
from streams.engine.schedule import gather_seconds

#: Records a batch: enough to make Faust's share small, few enough (40 ms) not to starve the event loop.
MAX_RECORDS = 4000
#: How long to ask who has taken our place.
_TWIN_SECONDS = 3.0


class StoppedError(KafkaError):
    """The client has stopped with the worker: it cannot be asked any more."""


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Fetches record batches, in its own thread and event loop."""

    logger = logging.getLogger("faust")  # what parts of Faust say belongs to it

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        self._assignor = assignor(self.app.engine.address, self.app.engine.identity, self._generation)
        return AIOKafkaConsumer(
            **self.app.engine.config.consumer(),
            partition_assignment_strategy=[self._assignor],
        )

    def _generation(self) -> int:
        generation: int = self._ensure_consumer()._coordinator.generation
        return generation

    async def on_start(self) -> None:
        """Like Faust's; a static member yields to another of its name."""
        await super().on_start()
        consumer = self._ensure_consumer()
        stop_at_once(consumer)
        yield_to_twin(consumer._coordinator)

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: Any,
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> dict[TP, list[list[RecordBatch]]]:
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise driver.ConsumerStoppedError()
        self.consumer.asked_at = time.monotonic()
        if not self._is_flowing():
            return {}
        with fetcher._subscriptions.fetch_context():
            batches = await fetch(
                fetcher, active_partitions, MAX_RECORDS, timeout or 0, self._is_flowing, self._gather
            )
            return _by_topic(batches)

    def _gather(self) -> float:
        return gather_seconds((engine.commits for engine in self.app.engines), time.monotonic())

    def _is_flowing(self) -> bool:
        return bool(self.consumer.flow_active)

    async def stop(self) -> None:
        """As Faust does it, with two differences.

        It waits for the thread's end with the worker's loop held up: what the thread may still ask of that would never
        be answered, and no clock would end it. And a thread that is only just starting is forgotten: the process would
        not end for it.
        """
        if self._thread is not None:
            try:
                await Service.stop(self)
            except RuntimeError:
                if not self.thread_loop.is_closed():  # as where it has crashed with the application
                    raise
            await asyncio.to_thread(self._thread.stop)

    async def call_thread(self, fun: Any, *args: Any, **options: Any) -> Any:
        """Like mode's; raises StoppedError after the end."""
        try:
            return await super().call_thread(fun, *args, **options)
        except RuntimeError as error:
            if self.thread_loop.is_closed():
                raise StoppedError from error
            raise

    def refusal(self) -> BaseException | None:
        """What keeps us out of the group; aiokafka waits until somebody asks, and tries again only then.

        A coordinator that is still reading what it knows of the group does not: it is asked again.
        """
        coordinator = self._consumer._coordinator if self._consumer is not None else None
        refusal = None if coordinator is None else coordinator._pending_exception
        if GroupLoadInProgressError.__name__ in repr(refusal):  # wrapped into another, as text
            self.thread_loop.call_soon_threadsafe(_ask_again, coordinator)
            return None
        return refusal

    def stay(self) -> None:
        """Ask for no records, and be a member of the group all the same (see `Config.max_poll_interval`)."""
        if self._consumer is not None:
            self._consumer._subscription._last_fetch_ended = time.monotonic()

    def is_connected(self) -> bool:
        """Whether there is a connection to any broker; also when nothing is fetched, heartbeats need one."""
        client = self._consumer._client if self._consumer is not None else None
        return client is not None and any(each.connected() for each in list(client._conns.values()))

    def is_caught_up(self, tp: TP, next_offset: int, since: float) -> bool:
        """Whether a fetch answered after `since` (epoch s) has found nothing at or past `next_offset`."""
        assignment = self._ensure_consumer()._subscription.subscription.assignment
        state = assignment._tp_state.get(tp) if assignment is not None else None
        return (
            state is not None
            and state.highwater is not None
            and state.timestamp is not None
            and state.timestamp >= since * 1000
            and next_offset >= state.highwater
        )

    async def hold(self, partitions: Collection[TP]) -> None:
        """See `Consumer`."""
        consumer = self._ensure_consumer()
        for topic, number in partitions:
            tp = TopicPartition(topic, number)
            # Where the group has no offset aiokafka would fail before it looks whether it may fetch.
            consumer.seek(tp, 0)
            consumer.pause(tp)

    async def release(self, places: Mapping[TP, int]) -> None:
        """See `Consumer`."""
        consumer = self._ensure_consumer()
        for (topic, number), offset in places.items():
            tp = TopicPartition(topic, number)
            consumer.seek(tp, offset)
            consumer.resume(tp)

    async def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """See `Consumer`."""
        consumer = self._ensure_consumer()
        logs = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        begins, ends = await consumer.beginning_offsets(logs), await written_ends(consumer, logs)
        return {log.partition: (begins[log], ends[log]) for log in logs}

    def end(self, tp: TP) -> End | None:
        """The end of the log as the last fetch has found it; None when unknown."""
        assignment = self._ensure_consumer()._subscription.subscription.assignment
        state = assignment._tp_state.get(tp) if assignment is not None else None
        if state is None or state.highwater is None or state.lso is None:
            return None
        return End(state.highwater, state.lso)


def _by_topic(batches: Iterable[RecordBatch]) -> dict[TP, list[list[RecordBatch]]]:
    """One message a topic, under the first of its partitions: where there are many, each has few records at a time."""
    found: dict[str, list[RecordBatch]] = {}
    for batch in batches:
        found.setdefault(batch.partition.topic, []).append(batch)
    return {ensure_TP(each[0].partition): [each] for each in found.values()}


def _ask_again(coordinator: Any) -> None:
    with suppress(KafkaError):
        coordinator.check_errors()


class Consumer(driver.Consumer):
    """Hands batches over as messages; offsets are the engine's."""

    logger = logging.getLogger("faust")

    #: monotonic: when records were last asked for.
    asked_at = 0.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        #: Nothing will be committed any more.
        self.committed_last = asyncio.Event()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, batches: list[RecordBatch]) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            batches[0].next_offset - 1,
            0.0,
            0,
            [],
            None,
            batches,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """A batch knows what lies between its records."""

    def ack(self, message: Any) -> bool:
        """The agent is done with a batch: only `wait_empty` wants to know. Faust acknowledges in any case, also when
        the agent has raised, so an acknowledgement must not move an offset."""
        message.acked = True
        self._unacked_messages.discard(message)
        waiting = self._waiting_for_ack
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        return True

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """A checkpoint of everything processed so far, also when another commit was under way."""
        return await self.force_commit(topics, start_new_transaction)

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        return any(await asyncio.gather(*(engine.commit() for engine in self.app.engines)))

    async def on_stop(self) -> None:
        """The last commit."""
        try:
            await super().on_stop()
        finally:
            self.committed_last.set()

    async def perform_seek(self) -> None:
        """To where the state is, which is not always where the group is (see Engine.assign)."""
        await self.seek_wait(
            {
                tp: engine.next_offset(tp)
                for engine in self.app.engines
                for tp in self.assignment()
                if engine.owns(tp)
            }
        )

    async def stable_offsets(
        self, topic: str, partitions: Collection[int]
    ) -> tuple[dict[int, OffsetAndMetadata], set[int]]:
        """As `offsets.stable`."""
        coordinator = self._thread._ensure_consumer()._coordinator
        found: tuple[dict[int, OffsetAndMetadata], set[int]] = await self._thread.call_thread(
            stable, coordinator, topic, partitions
        )
        return found

    def membership(self, generation: int) -> Membership:
        """Who we are in the group, in the generation of an assignment."""
        coordinator = self._thread._ensure_consumer()._coordinator
        return Membership(generation, coordinator.member_id, coordinator._group_instance_id)

    async def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """The first offset of each partition of a topic, and the high watermark."""
        found: dict[int, tuple[int, int]] = await self._thread.call_thread(self._thread.bounds, topic)
        return found

    async def topic_id(self, topic: str) -> bytes | None:
        """As `identity.topic_id`."""
        client = self._thread._ensure_consumer()._client
        found: bytes | None = await self._thread.call_thread(topic_id, client, topic)
        return found

    async def partition_count(self, topic: str) -> int:
        """As `identity.partition_count`."""
        client = self._thread._ensure_consumer()._client
        found: int = await self._thread.call_thread(partition_count, client, topic)
        return found

    async def hold(self, partitions: Collection[TP]) -> None:
        """Read nothing of these partitions, which are assigned to us, until the next assignment."""
        self.pause_partitions(partitions)
        await self._thread.call_thread(self._thread.hold, partitions)

    async def release(self, places: Mapping[TP, int]) -> None:
        """Read partitions that were held, from these offsets on."""
        self.resume_partitions(places.keys())
        await self._thread.call_thread(self._thread.release, places)

    def known_partitions(self, topic: str) -> int:
        """How many partitions a topic that we read has, as of the last look at the brokers' metadata."""
        return len(self._thread._ensure_consumer().partitions_for_topic(topic) or ())

    def rejoin(self) -> None:
        """Have our partitions assigned once more."""
        if (coordinator := self._coordinator()) is not None:
            self._thread.thread_loop.call_soon_threadsafe(coordinator.request_rejoin)

    async def is_member(self) -> bool:
        """Whether the group's coordinator says, when asked now, that what is assigned to us still is ours.

        While others wait for a rebalance that we have not joined yet, it is.
        """
        coordinator = self._thread._ensure_consumer()._coordinator
        return bool(await self._thread.call_thread(coordinator._do_heartbeat))

    async def twin(self) -> KafkaError | None:
        """As `members.twin`; asked for a few seconds."""
        if (coordinator := self._coordinator()) is None:
            return None
        asking = asyncio.ensure_future(self._thread.call_thread(twin, coordinator, coordinator.member_id))
        await asyncio.wait([asking], timeout=_TWIN_SECONDS)
        if not asking.done() or asking.exception() is not None:
            return None
        found: KafkaError | None = asking.result()
        return found

    async def members(self) -> tuple[str, list[Member]]:
        """Our id in the group, and all its members. Raises MembersUnknownError."""
        if (coordinator := self._coordinator()) is None:
            raise MembersUnknownError("the worker is starting")
        try:
            found = await self._thread.call_thread(members, coordinator, self.app.engine.config.source)
        except StoppedError as error:
            raise MembersUnknownError("the worker has stopped") from error
        return self.member_id, found

    @property
    def member_id(self) -> str:
        """Our id in the group; empty before we have joined it."""
        coordinator = self._coordinator()
        return "" if coordinator is None else str(coordinator.member_id)

    def _coordinator(self) -> Any:
        """What speaks for us with the group's coordinator; None before the start."""
        consumer = self._thread._consumer
        return None if consumer is None else consumer._coordinator

    def refusal(self) -> BaseException | None:
        """See `ConsumerThread`."""
        refusal: BaseException | None = self._thread.refusal()
        return refusal

    def stay(self) -> None:
        """See `ConsumerThread`."""
        self._thread.stay()

    def is_connected(self) -> bool:
        """See `ConsumerThread`."""
        return bool(self._thread.is_connected())

    def is_caught_up(self, tp: Any, next_offset: int, since: float) -> bool:
        """See `ConsumerThread`."""
        return bool(self._thread.is_caught_up(tp, next_offset, since))

    def end(self, tp: Any) -> End | None:
        """The end of the log of an assigned partition as the last fetch has found it; None when unknown."""
        end: End | None = self._thread.end(tp)
        return end

    def verify_event_path(self, now: float, tp: TP) -> None:
        """The engine watches the age of what is not committed itself."""


class Transport(driver.Transport):
    """aiokafka as Faust drives it, with our consumer."""

    Consumer = Consumer


class BatchSchema(Schema):
    """The value of an event is a list of RecordBatches. Faust decodes nothing: what it cannot decode it would drop."""

    def compile(self, app: Any, **kwargs: Any) -> Any:
        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode
