"""What is wrong with a request to train: all of it at once, each with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "platform", "config", "datasets", "instance_type", "hyperparameters", "secret", "role", "bucket", "network", "spot",
    "quota", "price", "budget", "policy", "request",
]  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One thing that keeps a request from being launched. `message` names subject and numbers, `remedy` the next step."""

    kind: Kind
    message: str
    remedy: str

    def sentence(self) -> str:
        return f"{self.message} {self.remedy}"
