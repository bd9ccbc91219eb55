"""The group's offsets: committed in a transaction by a member of the present generation only, and read once stable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import CoordinationType
from aiokafka.errors import (
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    KafkaError,
    NotCoordinatorError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.producer.sender import TxnOffsetCommitHandler
from aiokafka.structs import OffsetAndMetadata

from streams.engine.protocol import (
    NOT_A_MEMBER,
    UNSTABLE_OFFSET_COMMIT,
    Membership,
    StableOffsetFetchRequest,
    TxnOffsetCommitRequest,
)

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.05


class NotAMemberError(KafkaError):
    """The group has moved on without us: what was assigned to us may belong to somebody else by now."""


class _Handler(TxnOffsetCommitHandler):
    """aiokafka's, with the member and its generation."""

    def __init__(self, sender: Any, offsets: Any, group: str, member: Membership) -> None:
        super().__init__(sender, offsets, group)
        self._member = member

    def create_request(self) -> TxnOffsetCommitRequest:
        transactions = self._sender._txn_manager
        return TxnOffsetCommitRequest(
            transactions.transactional_id,
            (transactions.producer_id, transactions.producer_epoch),
            self._group_id,
            self._member,
            self._offsets,
        )

    def handle_response(self, answer: Any) -> float | None:
        errors = [(topic, [each[:2] for each in partitions]) for topic, partitions, _ in answer.errors]
        codes = {code for _, partitions in errors for _, code in partitions}
        if refused := codes & NOT_A_MEMBER:
            error = for_code(min(refused))
            _refuse(self._sender, NotAMemberError(f"{error.__name__}: {self._member}"))
            return None
        answer.errors = errors
        try:
            seconds: float | None = super().handle_response(answer)
        except TopicAuthorizationFailedError:
            # To aiokafka it is unexpected, and has no name.
            _refuse(self._sender, TopicAuthorizationFailedError(*(topic for topic, _ in errors)))
            return None
        return seconds


class Offsets:
    """How the transactions of a producer commit offsets: for a member of the group, which moves on with each rebalance.

    A member of a former generation is refused, so its transaction cannot commit: that is what fences a worker which
    has lost some of its partitions, or all, without knowing (semantics, section 7).
    """

    def __init__(self, producer: Any) -> None:
        self.member = Membership(-1, "", None)
        self._sender = producer._sender
        self._sender._do_txn_offset_commit = self._commit

    async def announce(self, group: str) -> None:
        """Have the open transaction expect offsets of the group: a round trip less when they are sent."""
        transactions = self._sender._txn_manager
        while transactions._txn_consumer_group is None:
            await self._sender._do_add_offsets_to_txn(group)
            if not transactions.is_in_transaction():
                raise transactions.wait_for_transaction_end().exception()

    async def _commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], group: str) -> None:
        if not self.member.is_known:
            _refuse(self._sender, NotAMemberError(f"no member of the group {group}"))
            return
        try:
            node = await self._sender._find_coordinator(CoordinationType.GROUP, group)
        except GroupAuthorizationFailedError as error:
            _refuse(self._sender, error)
            return
        await _Handler(self._sender, offsets, group, self.member).do(node)


def _refuse(sender: Any, error: Exception) -> None:
    """Fail what waits for its offsets to be taken. The transaction is open, and can be aborted.

    Not by aiokafka's `error_transaction`: an abort after that tells the brokers nothing, and the next transaction would
    commit what was written in this one.
    """
    pending = sender._txn_manager._pending_txn_offsets
    for _, _, waiter in pending:
        waiter.set_exception(error)
    pending.clear()


async def stable(
    coordinator: Any, topic: str, partitions: Collection[int]
) -> tuple[dict[int, OffsetAndMetadata], set[int]]:
    """The group's offsets, of partitions that have one; and the partitions whose offset a transaction may yet change.

    `coordinator` is that of an aiokafka consumer. Raises KafkaError for what does not help to try again.
    """
    if not partitions:
        return {}, set()
    request = StableOffsetFetchRequest(coordinator.group_id, topic, partitions)
    while True:
        await coordinator.ensure_coordinator_known()
        try:
            return _read(coordinator, await coordinator._send_req(request))
        except KafkaError as error:
            if not error.retriable:
                raise
            if isinstance(error, NotCoordinatorError | CoordinatorNotAvailableError):
                coordinator.coordinator_dead()
            await asyncio.sleep(_RETRY_SECONDS)


def _read(coordinator: Any, answer: Any) -> tuple[dict[int, OffsetAndMetadata], set[int]]:
    if answer.error_code:
        raise for_code(answer.error_code)(coordinator.group_id)
    found, unstable = {}, set()
    for _, partitions, _ in answer.topics:
        for number, offset, _, metadata, code, _ in partitions:
            if code == UNSTABLE_OFFSET_COMMIT:
                unstable.add(number)
            elif code:
                raise for_code(code)(coordinator.group_id)
            elif offset >= 0:
                found[number] = OffsetAndMetadata(offset, metadata)
    return found, unstable
