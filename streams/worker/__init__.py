"""One worker: the process that runs the engine, what it says of itself, and what it answers over HTTP."""
