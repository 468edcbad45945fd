"""What a run can be gone on from, when its instances were taken away."""

from __future__ import annotations

from pathlib import Path

from transformers.trainer_utils import get_last_checkpoint


def newest(folder: Path) -> str | None:
    """The newest whole checkpoint below the folder."""
    return get_last_checkpoint(str(folder)) if folder.is_dir() else None
