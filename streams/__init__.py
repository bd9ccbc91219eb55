"""The Telefonie call-event processor: Call events in, completed-call records out, exactly once."""
