"""The metrics of a worker: the table of all of them, and the collector that Prometheus scrapes."""

from streams.worker.metrics.collector import Metrics
from streams.worker.metrics.sample import PartitionSample, Reached, Sample

__all__ = ["Metrics", "PartitionSample", "Reached", "Sample"]
