"""The programs that train: what each is made of, where it runs, and what it says of itself while it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Trainer:
    """A program for SageMaker's script mode.

    `package` is the folder of this repository its code is in; a trainer of a user's own names a `source_uri`, the
    sourcedir.tar.gz in S3, and an `image_uri` instead.
    """

    name: str
    entry_point: str
    package: str = ""
    source_uri: str = ""
    image_uri: str = ""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """CloudWatch metrics by name, each with the regular expression that finds it in the log."""
    content_type: str = "application/jsonl"
    most_instances: int = 20
    checkpoints: bool = True
    """Whether it goes on from the checkpoints of a run that was interrupted."""


HOUSE_PRICES = Trainer(
    name="house-prices",
    entry_point="train.py",
    package="model",
    metrics={
        "validation:r2": r"r2=([-+0-9.eE]+);",
        "validation:mae": r"mae=([-+0-9.eE]+);",
        "validation:rmse": r"rmse=([-+0-9.eE]+);",
    },
    content_type="text/csv",
    most_instances=1,
)
"""It is done in seconds, so that it loses nothing worth a checkpoint."""

SHIPPED: Mapping[str, Trainer] = {HOUSE_PRICES.name: HOUSE_PRICES}
"""Those a training config can choose by name."""
