"""One worker: the process that runs the engine, what it reports about itself, and its HTTP interface."""
