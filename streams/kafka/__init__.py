"""Everything between the settings and Kafka other than the worker's stream: connections, topics, reading."""
