"""Writing a cut: outputs, changelog and offset of one partition, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalOperation
from aiokafka.partitioner import murmur2
from aiokafka.structs import OffsetAndMetadata

from streams.engine import clients
from streams.engine.config import Config
from streams.engine.processor import Cut, Output
from streams.kafka_errors import about

#: Of a produce request for one partition: below the default max.message.bytes of a topic (1 MiB), which counts
#: a whole batch.
BATCH_BYTES = 768 * 1024
_MAX_REQUEST_BYTES = 32 * 1024 * 1024


class Writer:
    """The transactional producer of one input partition.

    One for each partition, since its transactional id is what fences a former owner of just that partition.
    """

    def __init__(self, config: Config, partition: int) -> None:
        self.config, self.partition = config, partition
        self._source = TopicPartition(config.source, partition)
        self._producer = AIOKafkaProducer(
            **config.client,
            client_id=f"{config.group}-{partition}",
            transactional_id=f"{config.group}-{config.source}-{partition}",
            transaction_timeout_ms=config.transaction_timeout_ms,
            acks="all",
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            max_request_size=_MAX_REQUEST_BYTES,
            # Kafka 4 refuses the first batches of a transaction that follows closely on another, to be tried again.
            retry_backoff_ms=20,
            metadata_max_age_ms=60_000,
        )
        clients.look_up_patiently(self._producer)

    async def start(self) -> None:
        """Take the partition over: ends the transaction that a former owner has left open, and fences it."""
        await clients.start(self._producer)

    async def stop(self) -> None:
        """Close the connections. An open transaction is left to the next owner to abort."""
        await self._producer.stop()

    async def write(self, cut: Cut, position: bytes, next_offset: int, note: str) -> int:
        """Commit a cut; returns the changelog's next offset. The order of steps is the guarantee (semantics, 7):

        1. the transaction begins;
        2. outputs and changelog rows are sent, the changelog's last row being `position`;
        3. the group's offset joins the transaction (`note` is its metadata);
        4. every batch is acknowledged: aiokafka would commit without one that was refused;
        5. the transaction commits: all of it becomes visible, or, whatever dies before, nothing.

        Raises on any failure; the transaction stays open, and the next owner of the partition aborts it.
        """
        producer = self._producer
        await producer.begin_transaction()
        try:
            end = await self._fill(cut, position, next_offset, note)
        except IllegalOperation as error:
            # A batch was refused before: that is the reason, and the transaction knows it.
            raise producer._txn_manager.wait_for_transaction_end().exception() or error from error
        await producer.commit_transaction()
        return end

    async def _fill(self, cut: Cut, position: bytes, next_offset: int, note: str) -> int:
        """All of the open transaction; returns the changelog's next offset."""
        acks: list[Awaitable[Any]] = []
        for name, records in cut.outputs.items():
            topic = self.config.topics[name]
            for partition, share in (await self._shares(name, records)).items():
                acks += (await self._send(topic, partition, share))[0]
        now = self.config.wall_clock()
        rows: list[Output] = [(key, value, now, []) for key, value in cut.rows]
        rows.append((self.config.position_key, position, now, []))
        changelog = self.config.changelog
        written, of_last = await self._send(changelog, await self._own(changelog), rows)
        acks += written
        await self._producer.send_offsets_to_transaction(
            {self._source: OffsetAndMetadata(next_offset, note)}, self.config.group
        )
        *_, last = await asyncio.gather(*acks)
        return int(last.offset) + of_last

    async def _shares(self, name: str, records: Sequence[Output]) -> Mapping[int, Sequence[Output]]:
        """What of an output goes to which partition of its topic, in order."""
        topic = self.config.topics[name]
        if not records:
            return {}
        own = await self._own(topic)
        if name not in self.config.keyed:
            return {own: records}
        count = await self._partitions(topic)
        shares: dict[int, list[Output]] = {}
        for record in records:
            key = record[0]
            partition = own if key is None else partition_of(key, count)
            shares.setdefault(partition, []).append(record)
        return shares

    async def _send(
        self, topic: str, partition: int, records: Iterable[Output]
    ) -> tuple[list[Awaitable[Any]], int]:
        """Send records in as few batches as they fit into: one future a batch, not one a record.

        Returns these, and how many records are in the last batch.
        """
        acks: list[Awaitable[Any]] = []
        batch = self._producer.create_batch()
        append, n = batch._builder.append, 0  # BatchBuilder.append would check again what we know
        # Whether all in the batch are without a timestamp: the builder would give them that of the next.
        untimed = False
        for key, value, timestamp, headers in records:
            if (untimed and timestamp >= 0) or append(n, timestamp, key, value, headers) is None:
                # Full; an empty batch takes any record.
                acks.append(await self._submit(batch, n, topic, partition))
                batch = self._producer.create_batch()
                append, n = batch._builder.append, 0
                append(0, timestamp, key, value, headers)
            untimed = timestamp < 0 and (untimed or n == 0)
            n += 1
        acks.append(await self._submit(batch, n, topic, partition))
        return acks, n

    async def _submit(self, batch: Any, n: int, topic: str, partition: int) -> Awaitable[Any]:
        batch._relative_offset = n
        batch.close()
        ack: asyncio.Future[Any] = await self._producer.send_batch(batch, topic, partition=partition)
        ack.add_done_callback(partial(_name, f"topic {topic} partition {partition}"))
        return ack

    async def _own(self, topic: str) -> int:
        """The partition of a topic that goes with ours."""
        return self.partition % await self._partitions(topic)

    async def _partitions(self, topic: str) -> int:
        return len(await self._producer.partitions_for(topic))


def _name(where: str, ack: asyncio.Future[Any]) -> None:
    """What a refused batch was for: its error does not say so."""
    if not ack.cancelled():
        about(ack.exception(), where)


@lru_cache(maxsize=1 << 16)  # murmur2 takes 10 us, and the same key comes several times within a short while
def partition_of(key: bytes, count: int) -> int:
    """Where Kafka's default partitioner puts a key, in a topic of `count` partitions."""
    number: int = (murmur2(key) & 0x7FFFFFFF) % count
    return number


def check(producer: type[AIOKafkaProducer] = AIOKafkaProducer) -> None:
    """Raise RuntimeError when aiokafka's batch builder is not the one that is known here."""
    from aiokafka.producer.message_accumulator import BatchBuilder

    if not hasattr(producer, "send_batch") or "_builder" not in vars(BatchBuilder(1024, 0)):
        raise RuntimeError("this aiokafka has another batch builder: 0.14 is supported")
