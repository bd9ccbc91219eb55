"""The life of a call: what each event changes, when a call closes, what is published. No Kafka and no clock."""
