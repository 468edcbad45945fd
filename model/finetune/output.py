"""What a job leaves behind: weights, tokenizer, cards, examples that prove what serves them, and the code that does.

A model is deployed by its card and its code: they are written last, so that what a kill leaves half written is no model yet.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

from model.finetune import card, inference, samples
from model.finetune.base_model import computes_in_bf16
from model.finetune.hyperparameters import Hyperparameters
from model.finetune.problems import BadInputError

LARGEST_SHARD = "4GB"
LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
CARD, SMOKE_TEST, README = "model_card.json", "smoke_test.json", "README.md"
SPARE = 1.1
"""Room to leave for what lies beside the weights."""

Rebuilt = Callable[[], PreTrainedModel | PeftModel]
"""The model as it was loaded before training, with nothing quantized."""


@dataclass(frozen=True)
class Story:
    """What is known of a run beside its weights."""

    run: card.Run
    version: str
    base_name: str
    base_revision: str
    """The Hub's commit; "" for what is not from there."""
    data: Sequence[card.DataFile]
    requests: Sequence[samples.Request]
    before: Sequence[str]


def require_room(folder: Path, model: PreTrainedModel | PeftModel, asked: Hyperparameters) -> None:
    """Before training: raises BadInputError where the weights would not fit the disk they are to be written to."""
    whole = asked.merge_weights or not isinstance(model, PeftModel)
    needed = SPARE * count_of(model) * (2 if computes_in_bf16(asked) else 4) if whole else 0
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BadInputError(
            f"The trained model takes {needed / 1e9:,.1f} GB and {free / 1e9:,.1f} GB of the instance's disk are free."
            " Raise the volume size of the training request, or set merge_weights to false, which leaves the adapter alone."
        )


def count_of(model: torch.nn.Module) -> int:
    """Parameters, those of quantized weights too, which lie packed; without an adapter's own."""
    of_base = getattr(model, "get_base_model", lambda: model)()
    return int(of_base.num_parameters())


def whole_model(trainer: Trainer, rebuilt: Rebuilt) -> PreTrainedModel | PeftModel | None:
    """The trained model on the first process, gathered where it is spread over several; None on the others, which all take part."""
    if not trainer.is_fsdp_enabled:
        return trainer.accelerator.unwrap_model(trainer.model) if trainer.is_world_process_zero() else None
    weights = trainer.accelerator.get_state_dict(trainer.model)
    if not trainer.is_world_process_zero():
        return None
    model = rebuilt()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    tied = tuple(getattr(model, "_tied_weights_keys", None) or ())
    if unexpected or [name for name in missing if not name.endswith(tied or ("\0",))]:
        raise RuntimeError(
            f"The gathered weights do not fit the model: {unexpected[:5]} too many, {missing[:5]} too few."
        )
    return model


def write_output(
    folder: Path,
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Hyperparameters,
    story: Story,
    *,
    rebuilt: Rebuilt,
) -> card.Facts:
    """Into the folder SageMaker packs as the model: weights and tokenizer, what is said of them, and at the very end card and code."""
    code = folder / "code"
    shutil.rmtree(code, ignore_errors=True)
    (folder / CARD).unlink(missing_ok=True)
    left = write_weights(folder, model, asked, rebuilt)
    if isinstance(model, PeftModel):
        _name_base(folder / "adapter" / "adapter_config.json", story)
    tokenizer.save_pretrained(
        folder, save_jinja_files=False
    )  # older transformers know no file of its own for a template
    loaded = inference.Loaded(left, tokenizer, story.version, inference.context_length(left))
    after = samples.samples_of(loaded, story.requests)
    facts = card.Facts(
        version=story.version,
        base_name=story.base_name,
        base_revision=story.base_revision,
        hyperparameters=asked.model_dump(mode="json"),
        data=story.data,
        run=story.run,
        libraries={name: version(name) for name in LIBRARIES},
        parameters=count_of(left),
        context_length=loaded.context_length,
        merged=not isinstance(left, PeftModel),
        samples=_beside(story, after),
    )
    _write(folder / SMOKE_TEST, _json({"answers": [_example(one) for one in after]}))
    _write(folder / README, card.readme_of(facts))
    _write(folder / CARD, _json(card.card_of(facts)))
    _write_code(folder / "code", facts)
    return facts


def write_weights(
    folder: Path, model: PreTrainedModel | PeftModel, asked: Hyperparameters, rebuilt: Rebuilt
) -> PreTrainedModel | PeftModel:
    """The model as it is left: merged, unless the adapter alone is asked for. Safetensors, in shards of at most 4 GB."""
    if not isinstance(model, PeftModel):
        return _saved(folder, model, asked)
    model.save_pretrained(folder / "adapter", safe_serialization=True)
    if not asked.merge_weights:
        return model
    if getattr(model.get_base_model(), "is_quantized", False):
        # what is merged into 4 bits is rounded to 4 bits: the adapter is laid on the base model as it was published
        base = rebuilt()
        plain = base.get_base_model() if isinstance(base, PeftModel) else base
        model = PeftModel.from_pretrained(plain, folder / "adapter")
    return _saved(folder, inference.untied(model).merge_and_unload(safe_merge=True), asked)


def _name_base(config: Path, story: Story) -> None:
    """Once the adapter is saved, for which PEFT looks at the base model: it lay in a folder of this instance."""
    told = json.loads(config.read_text(encoding="utf-8"))
    told |= {"base_model_name_or_path": story.base_name, "revision": story.base_revision or None}
    _write(config, _json(told))


def _saved(folder: Path, model: PreTrainedModel, asked: Hyperparameters) -> PreTrainedModel:
    whole = model.to(torch.bfloat16) if computes_in_bf16(asked) else model
    whole.config.use_cache = True  # gradient checkpointing turns it off
    whole.save_pretrained(folder, safe_serialization=True, max_shard_size=LARGEST_SHARD)
    return whole


def _beside(story: Story, after: Sequence[samples.Sample]) -> list[dict[str, Any]]:
    before = {json.dumps(request): text for request, text in zip(story.requests, story.before, strict=True)}
    return [{"request": one.request, "before": before[json.dumps(one.request)], "after": one.text} for one in after]


def _example(one: samples.Sample) -> dict[str, Any]:
    return {"request": one.request, "generated_text": one.text, "certain_text": one.certain, "whole": one.whole}


def _write_code(code: Path, facts: card.Facts) -> None:
    """`inference.py`, and the versions it needs where the container's are older: at once, by one rename."""
    unfinished = code.with_name("code.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    shutil.copyfile(Path(__file__).with_name("inference.py"), unfinished / "inference.py")
    needed = ["transformers"] if facts.merged else ["transformers", "peft"]
    pins = "".join(f"{name}=={facts.libraries[name]}\n" for name in needed)
    (unfinished / "requirements.txt").write_text(pins, encoding="utf-8")
    unfinished.rename(code)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
