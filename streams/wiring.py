"""Which stages run in the engine, and with what: calls in, completed calls, KPI windows and dead letters out."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from streams.calls.partition import CallsPartition, Rules
from streams.calls.repartition import Repartition, RepartitionedCalls, smaller_event
from streams.codecs import CallDecoder, smaller_letter
from streams.engine.config import Config
from streams.kafka.credentials import client_options
from streams.records import Rows
from streams.settings import Settings


def config_of(settings: Settings, *, idle_clock: bool = True) -> Config:
    """The engine's configuration for calls."""
    rules = _rules(settings)

    def processor(partition: int, store: Rows | None) -> CallsPartition:
        if settings.repartition:
            return RepartitionedCalls(rules, partition, store, topic=settings.repartition_topic)
        return CallsPartition(rules, partition, store)

    return Config(
        group=settings.app_id,
        source=settings.source_topic,
        topics={
            "completed": settings.completed_topic,
            "kpis": settings.kpis_topic,
            "dead": settings.dead_topic,
        },
        changelog=settings.changelog_topic,
        shrink={"dead": smaller_letter},
        processor=processor,
        stores=Path(settings.data_dir) / "state" / settings.app_id if settings.store == "rocksdb" else None,
        client=client_options(settings),
        commit_interval=settings.commit_interval,
        instance_id=settings.instance_id,
        session_timeout=settings.session_timeout,
        idle_clock=idle_clock,
    )


def upstream_of(settings: Settings) -> Config | None:
    """The configuration of the stage that keys events by call id; None where there is none."""
    if not settings.repartition:
        return None
    decoder = CallDecoder(settings.nulls)
    return replace(
        config_of(settings, idle_clock=False),
        source=settings.calls_topic,
        topics={"repartition": settings.repartition_topic},
        keyed=("repartition",),
        changelog=settings.repartition_changelog_topic,
        shrink={"repartition": partial(smaller_event, decoder)},
        processor=lambda partition, _: Repartition(decoder, partition),
        stores=None,
    )


def _rules(settings: Settings) -> Rules:
    return Rules(
        topic=settings.calls_topic,
        call_timeout=settings.call_timeout,
        call_retention=settings.call_retention,
        max_clock_skew=settings.max_clock_skew,
        kpi_window=settings.kpi_window,
        decoder=CallDecoder(settings.nulls),
    )
