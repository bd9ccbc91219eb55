"""Errors of the embedded Kafka."""

from streams.errors import OperatorError

INSTALL = 'the embedded Kafka needs two more packages: pip install "telefonie-streams[embedded]"'


class EmbeddedKafkaError(OperatorError):
    """The embedded Kafka is not available; the message says why and what to do."""
