"""What goes wrong with the embedded Kafka."""

INSTALL = 'the embedded Kafka needs two more packages: pip install "telefonie-streams[embedded]"'


class EmbeddedKafkaError(Exception):
    """The embedded Kafka cannot be had; the message says what is in the way and what to do."""
