"""The programs that train: what each is made of, where it runs, and what it says of itself while it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Framework = Literal["scikit-learn", "hugging face"]


@dataclass(frozen=True)
class Trainer:
    """A program for SageMaker's script mode.

    `source` says of which files its program is made: by name there, the file or folder of the package `model`. A trainer of a user's
    own names a `source_uri`, the sourcedir.tar.gz in S3, and an `image_uri` instead.
    """

    name: str
    entry_point: str
    source: Mapping[str, str] = field(default_factory=dict)
    source_uri: str = ""
    image_uri: str = ""
    framework: Framework = "scikit-learn"
    """Whose container of AWS it runs in, where it names no image."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """CloudWatch metrics by name, each with the regular expression that finds it in the log."""
    content_type: str = "application/jsonl"
    most_instances: int = 20
    checkpoints: bool = True
    """Whether it goes on from the checkpoints of a run that was interrupted."""


HOUSE_PRICES = Trainer(
    name="house-prices",
    entry_point="train.py",
    source={name: name for name in ("train.py", "inference.py", "requirements.txt")},
    metrics={
        "validation:r2": r"r2=([-+0-9.eE]+);",
        "validation:mae": r"mae=([-+0-9.eE]+);",
        "validation:rmse": r"rmse=([-+0-9.eE]+);",
    },
    content_type="text/csv",
    most_instances=1,
)
"""It is done in seconds, so that it loses nothing worth a checkpoint."""

FINE_TUNING = Trainer(
    name="fine-tuning",
    entry_point="fine_tune.py",
    source={
        "fine_tune.py": "fine_tune.py",
        "requirements.txt": "finetune/requirements.txt",
        "model/__init__.py": "__init__.py",
        "model/finetune": "finetune",
    },
    framework="hugging face",
    metrics={
        name: rf"{before}{word}=([-+0-9.eE]+)[;/]"
        for name, (before, word) in {
            "train:epoch": ("", "epoch"),
            "train:step": ("; ", "step"),
            "train:loss": ("; ", "loss"),
            "validation:loss": ("; ", "eval_loss"),
            "train:learning_rate": ("; ", "learning_rate"),
            "train:grad_norm": ("; ", "grad_norm"),
            "train:rewards_margins": ("; ", "rewards/margins"),
            "train:rewards_accuracies": ("; ", "rewards/accuracies"),
            "validation:rewards_margins": ("; ", "eval_rewards/margins"),
            "validation:rewards_accuracies": ("; ", "eval_rewards/accuracies"),
            "train:token_accuracy": ("; ", "mean_token_accuracy"),
            "validation:token_accuracy": ("; ", "eval_mean_token_accuracy"),
            "train:tokens_per_second": ("; ", "tokens_per_second"),
            "train:gpu_memory_gb": ("; ", "gpu_memory_gb"),
            "train:gpu_memory_percent": ("; ", "gpu_memory_percent"),
            "train:gpu_utilization": ("; ", "gpu_utilization"),
            "train:progress": ("; ", "progress"),
            "train:eta_seconds": ("; ", "eta"),
        }.items()
    },
)
"""Language models, by `model/finetune`."""

SHIPPED: Mapping[str, Trainer] = {trainer.name: trainer for trainer in (HOUSE_PRICES, FINE_TUNING)}
"""Those a training config can choose by name."""
