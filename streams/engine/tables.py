"""The Faust face of the state, and what stands in for Faust's table recovery.

Faust reads a changelog through the group's own consumer, record by record, and decides by offsets that a transaction's
marker upsets. The engine restores by itself; here is only when: after an assignment, beside it. The assignment itself
must not wait, for the member sends no heartbeats until it is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Set
from contextlib import suppress
from typing import Any

import faust
from faust.tables.manager import TableManager
from faust.types import TP
from mode import Service


class StateTable(faust.Table):
    """The processors' state as a Faust table, to look things up. The engine alone writes it."""

    logger = logging.getLogger("faust")  # what parts of Faust say belongs to it

    def _find(self, key: Any) -> Any:
        for owned in self.app.engine.partitions.values():
            found = owned.processor.find(key)
            if found is not None:
                return found
        return None

    def __getitem__(self, key: Any) -> Any:
        found = self._find(key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: Any) -> bool:
        return self._find(key) is not None

    def get(self, key: Any, default: Any = None) -> Any:
        """The state under a key."""
        found = self._find(key)
        return default if found is None else found

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(f"the table {self.name} is written by the engine alone")

    def __delitem__(self, key: Any) -> None:
        raise TypeError(f"the table {self.name} is written by the engine alone")

    def __len__(self) -> int:
        return sum(len(owned.processor) for owned in self.app.engine.partitions.values())


class Recovery(Service):
    """Has the engine restore what was assigned, then lets the records flow."""

    logger = logging.getLogger("faust")  # what parts of Faust say belongs to it

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app = app
        self.completed = asyncio.Event()
        self.in_recovery = False
        self._task: asyncio.Task[None] | None = None

    def on_partitions_revoked(self, revoked: Collection[TP]) -> None:
        """Nothing is buffered here."""

    async def begin(self, assigned: Set[TP], generation: int) -> None:
        """Start to restore, instead of whatever an earlier assignment has started."""
        await self.break_off()
        self._task = asyncio.get_running_loop().create_task(self._recover(assigned, generation))

    async def on_stop(self) -> None:
        """Leave off."""
        await self.break_off()

    async def break_off(self) -> None:
        """Another rebalance has begun: what is assigned now counts no more, and no record may flow because of it."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _recover(self, assigned: Set[TP], generation: int) -> None:
        app = self.app
        self.in_recovery = app.in_recovery = True
        try:
            for engine in app.engines:
                await engine.assign(assigned, generation)
            # What stays ours goes on at once, whatever time the rest takes.
            kept = self._owned(assigned)
            if kept:
                await self._flow(assigned, kept)
            for engine in app.engines:
                await engine.restore()
            ready = self._owned(assigned)
            if kept:
                await app.consumer.release(self._places(ready - kept))
            else:
                await self._flow(assigned, ready)
            self.in_recovery = app.in_recovery = False
            self.completed.set()
        except Exception as error:
            await app.engine.fail(error)

    def _owned(self, assigned: Set[TP]) -> set[TP]:
        return {tp for tp in assigned for engine in self.app.engines if engine.owns(tp)}

    def _places(self, owned: Set[TP]) -> dict[TP, int]:
        return {tp: engine.next_offset(tp) for tp in owned for engine in self.app.engines if engine.owns(tp)}

    async def _flow(self, assigned: Set[TP], owned: Set[TP]) -> None:
        """Let the records of some partitions flow, and hold the others."""
        app = self.app
        await app.on_rebalance_complete.send()
        await app.consumer.hold(assigned - owned)
        app.consumer.resume_partitions(owned)
        await app.consumer.perform_seek()
        app.flow_control.resume()
        app.consumer.resume_flow()
        await app._fetcher.maybe_start()
        app.tables.on_actives_ready()
        app.tables.on_standbys_ready()
        app.on_rebalance_end()


class Tables(TableManager):
    """Keeps the changelog out of the group's subscription, and recovery to the engine."""

    logger = logging.getLogger("faust")  # what parts of Faust say belongs to it
    _recovery: Recovery | None

    @property
    def recovery(self) -> Recovery:
        """The service that restores."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        """No table is declared after the start, so nothing needs to be waited for."""
        await self._update_channels()
        await self.recovery.start()

    async def _update_channels(self) -> None:
        self._tables_finalized.set()
        self._tables_registered.set()

    async def on_rebalance(
        self, assigned: Any, revoked: Any, newly_assigned: Any, generation_id: int = 0
    ) -> None:
        """Partitions have been assigned."""
        self._recovery_started.set()
        await self.recovery.begin(assigned, generation_id)
