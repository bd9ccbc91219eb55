"""What people do beside the workers: look up, compare, redrive, simulate. No command line is in here."""
