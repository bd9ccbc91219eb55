"""A faster start: Java's AOT cache for the broker."""

import tempfile
from pathlib import Path

from streams.embedded.cluster import Cluster
from streams.embedded.installation import install
from streams.embedded.jars import make_folder

_WRITE_PATIENCE = 60.0  # seconds; the JVM writes the cache when it ends


def train(cache: Path | None = None) -> None:
    """Create the AOT cache if there is none: ten seconds, once, for starts that take half the time.

    It pays where brokers are started often, as in tests. Nothing depends on it: if Java, the jars or the flags change,
    it is written again, and Java ignores a cache that does not match.
    """
    installation = install(cache)
    if installation.aot_cache.exists():
        return
    make_folder(installation.made)
    with tempfile.TemporaryDirectory(dir=installation.made) as scratch:
        made = Path(scratch) / "kafka.aot"
        cluster = Cluster(Path(scratch) / "kafka", flags=[f"-XX:AOTCacheOutput={made}"], cache=cache)
        cluster.start()
        cluster.stop(_WRITE_PATIENCE)
        if made.exists():
            made.replace(installation.aot_cache)
