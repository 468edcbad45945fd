"""Datasets as files: what a format is, whether a file keeps to it, and what is in it. Pure: no cloud, no settings."""
