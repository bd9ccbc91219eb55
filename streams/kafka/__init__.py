"""Everything between the settings and Kafka that is not the worker's stream: connections, topics, reading."""
