"""The worker as a process: its start, and its end when a signal stops it, it has caught up, or something fails."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

import faust
from aiokafka import TopicPartition

from streams.engine.application import application
from streams.engine.config import Config
from streams.engine.engine import Engine
from streams.engine.hidden import written_ends
from streams.engine.restore import reader
from streams.kafka import topics
from streams.kafka.errors import told
from streams.settings import Settings
from streams.wiring import config_of, upstream_of
from streams.worker.metrics import Metrics
from streams.worker.monitor import Monitor
from streams.worker.summary import Summary

log = logging.getLogger(__name__)

#: A worker that does not stop within this time (s) is ended nevertheless; its last checkpoint may be repeated.
STOP_SECONDS = 25.0
#: After a failure nothing more can be committed, so there is nothing to wait for.
FAILED_STOP_SECONDS = 5.0


class Server(Protocol):
    """Answers HTTP next to the worker."""

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""

    @property
    def advertised(self) -> str:
        """Where other workers reach it, as a URL."""

    async def start(self) -> None:
        """Listen."""

    async def stop(self) -> None:
        """Close the port."""


class Worker(faust.Worker):
    """Runs the application in this process until a signal stops it, or it has caught up."""

    def __init__(self, settings: Settings, *, until_caught_up: bool = False) -> None:
        self.settings, self.until_caught_up = settings, until_caught_up
        self.metrics = Metrics(settings)
        self.watch = Monitor(settings, self.metrics)
        upstream = upstream_of(settings)
        app = application(
            config_of(settings, idle_clock=not until_caught_up),
            self.watch,
            (upstream, self.watch.upstream()) if upstream else None,
        )
        self.watch.app = app
        self.metrics.watch(self.watch)
        self.web: Server | None = None
        #: What has been done, once the worker has stopped.
        self.summary: Summary | None = None
        self.ends: dict[int, int] = {}
        super().__init__(
            app, quiet=True, override_logging=False, redirect_stdouts=False, loop=asyncio.get_event_loop()
        )
        self.spinner = None  # it would write to stdout, which is for data
        if until_caught_up:
            app.task(self._stop_when_caught_up)

    async def on_first_start(self) -> None:
        """Check the environment, answer HTTP, then start Faust."""
        self.watch.count = await topics.prepare(self.settings)
        if self.until_caught_up:
            self.ends = await written(self.app.engines[0].config)
        self.install_signal_handlers()
        if self.web is not None:
            await self.web.start()
            self.app.engine.address = self.web.advertised
            log.info("HTTP is at %s, for other workers at %s", self.web.address, self.web.advertised)

    async def on_shutdown(self) -> None:
        """All of Faust has stopped, and the last checkpoint is committed."""
        self.summary = self.watch.summary()
        for engine in self.app.engines:
            await engine.close()
        if self.web is not None:
            await self.web.stop()

    async def _stop_when_caught_up(self) -> None:
        wanted = self.ends
        for engine in self.app.engines:
            while not await self._has_reached(engine, wanted):
                if self.should_stop:
                    return
                await asyncio.sleep(0.2)
            if engine is not self.app.engine:
                # Everything that it has written by now, including what is still hidden by a transaction that is just
                # being committed.
                wanted = await written(self.app.engine.config)
        self._schedule_shutdown(signal.SIGTERM)

    @staticmethod
    async def _has_reached(engine: Engine, wanted: Mapping[int, int]) -> bool:
        """Whether the group has committed these offsets, as every client sees it.

        The worker knows of its commit earlier: the coordinator learns of it when it reads the transaction's marker, a
        moment after the commit is acknowledged.
        """
        done = await engine.committed_offsets(wanted)
        return all(done.get(number, -1) >= end for number, end in wanted.items())

    def execute(self) -> None:
        """Run until stopped. Raises OperatorError for what people can fix, and anything else that stopped the
        worker."""
        loop = self.loop
        self._starting_fut = loop.create_task(self.start())
        try:
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(self._starting_fut)
        finally:
            self._stop_in_time()
        if (error := self.app.failure or self.crash_reason) is not None:
            raise told(error)

    def _stop_in_time(self) -> None:
        """Stop cleanly, or end the process: its threads may wait for each other, and nothing is lost by it."""
        stopping = self._signal_stop_future or asyncio.ensure_future(self.stop(), loop=self.loop)
        failure = self.app.failure
        seconds = STOP_SECONDS if failure is None else FAILED_STOP_SECONDS
        self.loop.run_until_complete(asyncio.wait([stopping], timeout=seconds))
        if stopping.done():
            return
        if failure is None:
            log.error(
                "the worker did not stop within %.0f s: the brokers do not answer, or its group waits "
                "for a member that is gone; what was not committed is processed again by the next "
                "worker",
                seconds,
            )
        else:
            reason = told(failure)
            log.error("the worker stops because of: %s; start it again", reason, exc_info=reason)
        logging.shutdown()
        os._exit(1)


async def written(config: Config) -> dict[int, int]:
    """The high watermark of each partition of the source that holds anything, readable yet or not."""
    async with reader(config) as consumer:
        await consumer._client._wait_on_metadata(config.source)
        logs = [TopicPartition(config.source, n) for n in consumer.partitions_for_topic(config.source) or ()]
        begins, ends = await consumer.beginning_offsets(logs), await written_ends(consumer, logs)
        return {log.partition: ends[log] for log in logs if begins[log] < ends[log]}
