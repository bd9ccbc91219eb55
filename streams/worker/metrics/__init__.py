"""The metrics of a worker: the table of them all, and the collector that Prometheus asks."""

from streams.worker.metrics.collector import Metrics
from streams.worker.metrics.sample import PartitionSample, Reached, Sample

__all__ = ["Metrics", "PartitionSample", "Reached", "Sample"]
