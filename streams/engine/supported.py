"""The inner parts of aiokafka that the engine uses: looked at before anything starts, since nobody promises them."""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Any

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer import fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import Assignment, SubscriptionState, TopicPartitionState
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.sender import Sender, TxnOffsetCommitHandler
from aiokafka.producer.transaction_manager import TransactionManager

PARTS: Mapping[Any, tuple[str, ...]] = {
    fetcher: ("MemoryRecords",),
    fetcher.Fetcher: (
        "_closed",
        "_create_fetch_waiter",
        "_fetch_max_wait_ms",
        "_fetch_min_bytes",
        "_isolation_level",
        "_notify",
        "_proc_fetch_request",
        "_records",
        "_subscriptions",
        "_wait_consume_future",
    ),
    fetcher.FetchResult: ("_partition_records", "_update_position", "check_assignment", "has_more"),
    fetcher.PartitionRecords: (
        "_aborted_producers",
        "_check_crcs",
        "_consume_aborted_up_to",
        "_isolation_level",
        "_records",
        "_records_iterator",
        "_tp",
        "next_fetch_offset",
    ),
    AIOKafkaConsumer: (
        "_client",
        "_closed",
        "_coordinator",
        "_fetcher",
        "_request_timeout_ms",
        "_subscription",
    ),
    GroupCoordinator: (
        "_do_heartbeat",
        "_do_rejoin_group",
        "_group_instance_id",
        "_pending_exception",
        "_send_req",
        "coordinator_dead",
        "ensure_coordinator_known",
        "generation",
        "member_id",
        "request_rejoin",
    ),
    SubscriptionState: ("_last_fetch_ended",),
    Assignment: ("_tp_state",),
    TopicPartitionState: ("highwater", "lso", "timestamp"),
    AIOKafkaClient: ("_conns", "add_topic", "close", "coordinator_lookup", "get_random_node", "set_topics"),
    AIOKafkaConnection: ("_writer",),
    AIOKafkaProducer: ("_sender", "_txn_manager", "send_batch"),
    BatchBuilder: ("_builder",),
    Sender: ("_do_add_offsets_to_txn", "_do_txn_offset_commit", "_find_coordinator", "_txn_manager"),
    TxnOffsetCommitHandler: ("_group_id", "_offsets", "_sender", "create_request", "handle_response"),
    TransactionManager: (
        "_pending_txn_offsets",
        "_sequence_numbers",
        "_txn_consumer_group",
        "increment_sequence_number",
        "wait_for_transaction_end",
    ),
}


def check(parts: Mapping[Any, tuple[str, ...]] = PARTS) -> None:
    """Raise RuntimeError when this aiokafka is not the one whose inner parts are known here."""
    missing = [
        f"{part.__name__}.{name}" for part, names in parts.items() for name in names if not _has(part, name)
    ]
    if missing or not aiokafka.__version__.startswith("0.14."):
        raise RuntimeError(f"aiokafka {aiokafka.__version__} is not supported, 0.14 is; missing: {missing}")


def _has(part: Any, name: str) -> bool:
    """Whether a module or class has it, or gives it to its instances."""
    makers = [getattr(each, "__init__", None) for each in getattr(part, "__mro__", ())]
    names = [maker.__code__.co_names for maker in makers if isinstance(maker, FunctionType)]
    return hasattr(part, name) or any(name in each for each in names)
