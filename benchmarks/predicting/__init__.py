"""Serving the same model in several ways, and asking all of them the same."""
