"""`trainmaster train`."""
