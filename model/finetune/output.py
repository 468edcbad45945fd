"""What a job leaves behind: weights, tokenizer, model card, and the code that serves them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from model.finetune.hyperparameters import Hyperparameters


def write_output(
    folder: Path,
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Hyperparameters,
    card: dict[str, Any],
) -> None:
    """Into the folder SageMaker packs as the model: `adapter/`, the whole model beside it, the card, and `code/`."""
    if isinstance(model, PeftModel):
        model.save_pretrained(folder / "adapter")
        if asked.merge_weights:
            model.merge_and_unload().save_pretrained(folder)
    else:
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model_card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    code = folder / "code"
    code.mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("inference.py"), code / "inference.py")
