"""User-visible workflows, one a file."""
