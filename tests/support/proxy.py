"""A TCP proxy on loopback that understands a little Kafka: it can delay traffic, and drop connections."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

#: Requests by their number in the protocol.
APIS = {
    0: "Produce",
    1: "Fetch",
    2: "ListOffsets",
    3: "Metadata",
    9: "OffsetFetch",
    10: "FindCoordinator",
    11: "JoinGroup",
    12: "Heartbeat",
    14: "SyncGroup",
    15: "DescribeGroups",
    18: "ApiVersions",
    22: "InitProducerId",
    24: "AddPartitionsToTxn",
    25: "AddOffsetsToTxn",
    26: "EndTxn",
    28: "TxnOffsetCommit",
    32: "DescribeConfigs",
    66: "ListTransactions",
}

#: The client id of librdkafka: nothing is lost of what the tests themselves ask.
_OURS = b"rdkafka"


class Proxy:
    """Between clients and 127.0.0.1:`target`; a context manager.

    `delay` (s) may be changed at any time, and so may `requests` and `answers`: of which requests, by name, the
    next so many are to be lost with their connection, before they reach the broker or when it answers.
    """

    def __init__(self, target: int | None = None) -> None:
        self.target, self.delay = target, 0.0
        self.requests: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        #: What was lost so far.
        self.lost: Counter[str] = Counter()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._writers: set[StreamWriter] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def drop(self) -> None:
        """Reset every connection that there is; new ones are taken."""
        self._loop.call_soon_threadsafe(self._drop)

    def _drop(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._accept, sock=self._socket))
        self._loop.run_forever()
        self._drop()
        if left := asyncio.all_tasks(self._loop):
            self._loop.run_until_complete(asyncio.wait(left, timeout=5))

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        assert self.target is not None, "the target is set before anyone connects"
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, there[1]}
        self._writers |= both
        names: dict[int, str] = {}
        await asyncio.gather(
            self._pass_on(reader, there[1], lambda frame: self._loses_request(frame, names)),
            self._pass_on(there[0], writer, lambda frame: self._loses_answer(frame, names)),
        )
        self._writers -= both

    async def _pass_on(
        self, source: StreamReader, sink: StreamWriter, loses: Callable[[bytes], bool]
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                size = await source.readexactly(4)
                frame = await source.readexactly(int.from_bytes(size, "big"))
                if self.delay:
                    await asyncio.sleep(self.delay)
                if loses(frame):
                    break
                sink.write(size + frame)
                await sink.drain()
        sink.close()

    def _loses_request(self, frame: bytes, names: dict[int, str]) -> bool:
        api, _, number = struct.unpack(">hhi", frame[:8])
        if frame[10:].startswith(_OURS):
            return False
        names[number] = APIS.get(api, str(api))
        return self._takes(self.requests, names[number])

    def _loses_answer(self, frame: bytes, names: dict[int, str]) -> bool:
        return self._takes(self.answers, names.pop(int.from_bytes(frame[:4], "big"), ""))

    def _takes(self, planned: Counter[str], name: str) -> bool:
        if planned[name] <= 0:
            return False
        planned[name] -= 1
        self.lost[name] += 1
        return True
