"""What cannot be trained on, or with: said once, where SageMaker looks for it."""

from __future__ import annotations


class BadInputError(Exception):
    """Raised when data, hyperparameters or the base model cannot be trained with; its text becomes the job's FailureReason."""
