"""Measurements, side by side and in one run. Each prints a table for people and, as its last line, a JSON object."""
