"""What `telefonie broker` and `telefonie run` share: an embedded Kafka whose start is shown."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from streams.embedded import Cluster
from streams.embedded.jars import Progress


@contextmanager
def embedded_kafka(data_dir: Path, port: int | None = None, nodes: int = 1) -> Iterator[Cluster]:
    """An embedded Kafka, stopped cleanly at the end; raises EmbeddedKafkaError as `Cluster.start` does."""
    begun = time.monotonic()
    with _download() as progress:
        cluster = Cluster(data_dir, port=port, nodes=nodes, progress=progress)
        cluster.start()
    try:
        took = time.monotonic() - begun
        click.echo(f"Apache Kafka is ready after {took:.1f} s; its data is in {data_dir}", err=True)
        yield cluster
    finally:
        click.echo("stopping Apache Kafka", err=True)
        cluster.stop()


@contextmanager
def _download() -> Iterator[Progress]:
    """Reports the progress of the first start's download; silent if there is nothing to download."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Bar(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            if not bar.tasks:
                click.echo("downloading Apache Kafka (45 MB, only this once)", err=True)
                bar.add_task("jars", total=total)
            bar.update(bar.task_ids[0], completed=done)

        yield progress


def sigterm_is_ctrl_c() -> None:
    """From now on SIGTERM raises KeyboardInterrupt, as SIGINT does."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
