"""`trainmaster prices`."""
