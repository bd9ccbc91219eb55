"""`telefonie broker`: the embedded Kafka alone."""

import os
import time
from contextlib import suppress
from pathlib import Path

import click

from streams.cli.embedded import embedded_kafka, sigterm_is_ctrl_c
from streams.settings import Settings


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where its data is kept; the next start there continues with it.  [default: kafka in "
    "TELEFONIE_DATA_DIR]",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65527),
    help="Port of the first broker; the next broker takes the next port.  [default: the previous one, or a "
    "free one]",
)
@click.option(
    "--nodes",
    type=click.IntRange(1, 9),
    default=1,
    show_default=True,
    help="Number of brokers; three or more keep three copies of everything.",
)
def broker(data_dir: Path | None, port: int | None, nodes: int) -> None:
    """Run only the embedded Kafka, in the foreground; Ctrl-C stops it.

    Prints its address to stdout when it is ready. It listens on 127.0.0.1 only. The very first start downloads Apache
    Kafka (45 MB); later ones need no network.

    \b
    Example:
      telefonie broker --port 9092
      TELEFONIE_BROKERS=127.0.0.1:9092 telefonie topics create
    """
    sigterm_is_ctrl_c()
    data_dir = data_dir or Path(Settings.load(os.environ).data_dir) / "kafka"
    with suppress(KeyboardInterrupt), embedded_kafka(data_dir, port, nodes) as cluster:
        click.echo(cluster.bootstrap())
        while True:
            cluster.check()
            time.sleep(0.2)
