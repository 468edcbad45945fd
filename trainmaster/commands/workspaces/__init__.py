"""`trainmaster launch` and the other commands on workspaces and their templates."""
