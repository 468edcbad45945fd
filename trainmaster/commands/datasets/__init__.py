"""`trainmaster datasets`."""
