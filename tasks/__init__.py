"""Retryable steps, one file per subject."""
