"""Another domain on the engine: how often each key has been seen. Run as a worker process."""

import asyncio
import logging
import sys
from math import inf
from typing import NamedTuple

from faust import Worker

from streams.engine.application import application
from streams.engine.config import Config


class Checkpoint(NamedTuple):
    outputs: dict
    rows: list
    stored: list
    partition_state: bytes


class Counter:
    """Publishes, for every record, its key and how often it has been seen by now."""

    def __init__(self, _partition: int, _store: None) -> None:
        self.counts, self.changed, self.out = {}, {}, []

    @property
    def pending(self) -> int:
        return len(self.out)

    @property
    def pending_bytes(self) -> int:
        return 100 * len(self.out)

    def process(self, records, _wall) -> int:
        for _, timestamp, key, _, _ in records:
            self.counts[key] = self.changed[key] = self.counts.get(key, 0) + 1
            self.out.append((key, b"%d" % self.counts[key], timestamp, []))
        return len(records)

    def checkpoint(self) -> Checkpoint:
        checkpoint = Checkpoint(
            {"counts": self.out}, [(key, b"%d" % n) for key, n in self.changed.items()], [], b""
        )
        self.changed, self.out = {}, []
        return checkpoint

    def restore(self, rows) -> list:
        self.counts |= {key: int(value) for key, value in rows}
        return []

    def ready(self, _partition_state):
        return iter(())

    def settle(self) -> bool:
        return False

    def advance(self, _wall) -> bool:
        return False

    def find(self, key):
        return self.counts.get(key)

    def __len__(self) -> int:
        return len(self.counts)


class Silent:
    """An observer that does not care."""

    def applied(self, *_) -> None: ...
    def committed(self, *_) -> None: ...
    def assigned(self, *_) -> None: ...


def main(brokers: str, name: str, when: str = "as usual") -> None:
    """With "after each fetch" nothing is committed because it is due, in ten minutes."""
    logging.basicConfig(level=logging.INFO)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    config = Config(
        group=f"{name}-app",
        source=f"{name}.in",
        topics={"counts": f"{name}.counts"},
        changelog=f"{name}.changelog",
        processor=Counter,
        client={"bootstrap_servers": brokers.split(",")},
        commit_interval=600_000 if when == "after each fetch" else 100,
    )
    app = application(config, Silent())
    if when == "after each fetch":
        app.engine.commits.early = inf
    Worker(
        app, quiet=True, override_logging=False, redirect_stdouts=False, loop=loop
    ).execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
