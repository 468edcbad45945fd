"""`trainmaster endpoints`."""
