"""What people do alongside the workers: look up, compare, redrive, simulate. The command line is elsewhere."""
