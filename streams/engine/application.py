"""A Faust application on the engine: what of Faust runs, what is replaced, and the engine's own clocks."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import faust
from aiokafka import TopicPartition
from faust.app.base import BootStrategy
from faust.transport.drivers import TRANSPORTS
from mode import CrashingSupervisor

from streams.engine import supported
from streams.engine.config import Config
from streams.engine.engine import Engine, Observer
from streams.engine.failures import about, unreached_text
from streams.engine.fetch import RecordBatch
from streams.engine.hidden import End, Hidden
from streams.engine.schedule import Schedule
from streams.engine.tables import StateTable, Tables
from streams.engine.transport import BatchSchema
from streams.errors import OperatorError

log = logging.getLogger(__name__)

TICK_SECONDS = 5.0
REVIEW_SECONDS = 5.0
#: After so many records (2 ms) the event loop turns.
TURN_AFTER = 200
#: What waits so long for the brokers is worth a line in the log, again and again.
SLOW_SECONDS = 10

#: A batch is thousands of tuples, which are freed by their reference counts. With Python's own thresholds (700), and
#: still after every 10,000, the collector takes a tenth of the time to find nothing in them.
_COLLECT_AFTER = (100_000, 10, 10)


class OnlyConsumer(BootStrategy):
    """Faust's own producer and web server stay off: the engine writes, and the web server is the application's."""

    enable_kafka_producer = False
    enable_web = False


class Application(faust.App):
    """A Faust application whose records are batches and whose commits are the engine's checkpoints."""

    logger = logging.getLogger("faust")  # what parts of Faust say belongs to it
    #: The one whose state the table shows; and all of them, each of which writes what the next one reads.
    engine: Engine
    engines: tuple[Engine, ...]
    BootStrategy = OnlyConsumer
    #: What open transactions hold up in the partitions of this worker.
    hidden: Hidden

    @property
    def failure(self) -> BaseException | None:
        """What has stopped one of the engines."""
        return next((each.failure for each in self.engines if each.failure is not None), None)

    def ends(self) -> dict[TopicPartition, End]:
        """The ends of the logs of all partitions that are ours, as far as they are known."""
        ours = [
            TopicPartition(each.config.source, number) for each in self.engines for number in each.partitions
        ]
        return {tp: end for tp in ours if (end := self.consumer.end(tp)) is not None}

    def waited(self) -> float:
        """As `Engine.waited`, of all engines."""
        return max(each.waited() for each in self.engines)

    async def on_start(self) -> None:
        """Look after the brokers from the start: Faust's own tasks begin only once partitions are assigned."""
        await super().on_start()
        self.add_future(_on(self, Schedule(1.0), Watchdog(self).look)())

    async def _on_partitions_revoked(self, revoked: Any) -> None:
        """A rebalance. While we stop it waits for the last commit, so that no other worker fences that.

        Faust closes the consumer instead, out of another thread than the one it runs in: what it waits for from the
        brokers is then never answered, and the group misses us only after the session timeout.
        """
        if self.should_stop:
            await self.consumer.committed_last.wait()
            return
        await self.tables.recovery.break_off()
        await super()._on_partitions_revoked(revoked)
        for engine in self.engines:
            await engine.suspend()

    def _on_rebalance_when_stopped(self) -> None:
        """What is assigned to us while we stop is not begun; the consumer leaves the group when it stops."""

    def _create_directories(self) -> None:
        """Nothing is kept in files."""


def application(
    config: Config, observer: Observer, upstream: tuple[Config, Observer] | None = None
) -> Application:
    """The application: an agent on the source topic, a table of the processors' state, the engine under both.

    `upstream` is a stage before, in the same group: an engine of its own, which writes our source.
    """
    supported.check()
    gc.set_threshold(*_COLLECT_AFTER)
    TRANSPORTS.aliases["batch"] = "streams.engine.transport:Transport"
    app = Application(
        config.group,
        # Only a name for Faust: our consumer and producers take their addresses from the config.
        broker="batch://" + ";".join(config.client["bootstrap_servers"]),
        store="memory://",
        # Faust's exactly_once is not what makes this exactly once.
        processing_guarantee="at_least_once",
        broker_commit_interval=86_400.0,
        broker_session_timeout=config.session_timeout / 1000,
        broker_request_timeout=max(90.0, config.session_timeout / 1000),
        stream_buffer_maxsize=2,  # fetches
        stream_wait_empty=True,
        topic_disable_leader=True,
        web_enabled=False,
        Table=StateTable,
        TableManager=Tables,
        agent_supervisor=CrashingSupervisor,
    )
    before = (Engine(app, *upstream),) if upstream else ()
    app.engine = Engine(app, config, observer, *before)
    app.engines = (*before, app.engine)
    app.hidden = Hidden()
    app.Table("state", partitions=1)
    for engine in app.engines:
        _run(app, engine)
    return app


def _run(app: Application, engine: Engine) -> None:
    config = engine.config
    source = app.topic(config.source, schema=BatchSchema(), key_serializer="raw", value_serializer="raw")

    @app.agent(source, name=f"apply.{config.source}")
    async def apply(stream: Any) -> None:
        batches: list[RecordBatch]
        async for batches in stream:
            since = 0
            for batch in batches:
                if not app.consumer.flow_active:
                    break  # a rebalance has begun: the rest is read again, here or elsewhere
                await engine.process(batch)
                since += len(batch.records)
                if since >= TURN_AFTER:
                    since = 0
                    await asyncio.sleep(0)
            engine.commits.applied()

    app.task(_on(app, engine.commits, engine.commit))
    app.task(_on(app, Schedule(REVIEW_SECONDS), engine.review))
    if config.idle_clock:
        app.task(_on(app, Schedule(TICK_SECONDS), engine.tick))


def _on(
    app: Application, schedule: Schedule, work: Callable[[], Awaitable[Any]]
) -> Callable[[], Awaitable[None]]:
    """A task that does the work on a schedule, as long as the application runs; what it raises is fatal."""

    async def run() -> None:
        while not app.should_stop:
            await schedule.wait()
            try:
                await work()
            except Exception as error:
                await app.engine.fail(error)

    run.__name__ = getattr(work, "__name__", "watch")
    return run


class Watchdog:
    """Says so when the brokers are silent, and gives up when they stay so: an orchestrator can do more."""

    def __init__(self, app: Application) -> None:
        self._app, self._connected_at = app, time.monotonic()

    async def look(self) -> None:
        """Also keeps a member that has nothing to fetch in its group.

        Raises BrokersLostError after `Config.lost_after`, and what keeps us out of the group.
        """
        if (refusal := self._app.consumer.refusal()) is not None:
            about(refusal, f"group {self._app.engine.config.group}")
            raise refusal
        if self._app.in_recovery or not any(engine.partitions for engine in self._app.engines):
            self._app.consumer.stay()  # nothing is fetched then, for longer than the group would wait
        now = time.monotonic()
        self._app.hidden.look(self._app.ends(), now)
        if self._app.consumer.is_connected():
            self._connected_at = now
        silent, waited = now - self._connected_at, self._app.waited()
        what = f"no broker could be reached for {silent:.0f} s"
        if waited > silent:
            what = f"nothing could be committed for {waited:.0f} s"
        seconds = max(silent, waited)
        if seconds > self._app.engine.config.lost_after / 1000:
            raise BrokersLostError(
                f"{what}: the brokers are gone, or a topic cannot be written to{unreached_text()}"
            )
        if seconds >= SLOW_SECONDS and int(seconds) % SLOW_SECONDS == 0:
            log.warning("%s: waiting for the brokers", what)


class BrokersLostError(OperatorError):
    """The brokers have not taken anything for too long."""
