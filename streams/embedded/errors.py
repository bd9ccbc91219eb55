"""What goes wrong with the embedded Kafka."""

from streams.errors import OperatorError

INSTALL = 'the embedded Kafka needs two more packages: pip install "telefonie-streams[embedded]"'


class EmbeddedKafkaError(OperatorError):
    """The embedded Kafka cannot be had; the message says what is in the way and what to do."""
