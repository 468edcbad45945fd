"""Each method trains a tiny model in a few steps: an adapter or all weights, packed or not, the same by the same seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tiny_runs import CHATS, LABELLED, PAIRS, REWARDED, TEXTS, Run, tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in run.trainer.model.named_parameters()}


@pytest.mark.parametrize("finetuning_type", ["lora", "full"])
@pytest.mark.parametrize(
    ("method", "rows"),
    [
        ("sft", CHATS), ("dpo", PAIRS), ("orpo", PAIRS), ("kto", LABELLED), ("kto", REWARDED), ("kto", PAIRS), ("cpt", TEXTS),
        ("cpt", CHATS), ("sft", PAIRS),
    ],
    ids=["sft", "dpo", "orpo", "kto", "kto of rewards", "kto of pairs", "cpt", "cpt of chats", "sft of pairs"],
)  # fmt: skip
def test_a_method_learns(method: str, rows: list[Any], finetuning_type: str, base: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, base, {"training": rows}, training_method=method, finetuning_type=finetuning_type)
    before = weights(run)
    losses = run.losses()
    assert losses[-1] < losses[0], losses
    changed = {name for name, value in weights(run).items() if not torch.equal(value, before[name])}
    assert changed
    if finetuning_type == "lora":
        assert isinstance(run.trainer.model, PeftModel)
        assert all("lora_" in name for name in changed)
    else:
        assert len(changed) == len(before)
