"""Record batches through Faust, in Kafka transactions. Knows nothing of calls, and nothing of the settings."""
