"""The model a run leaves, from before its first step to after its last: what is asked of it before, and what is written in the end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peft import PeftModel, get_peft_model
from transformers import PreTrainedModel, Trainer

from model.finetune import card, inference, output, samples
from model.finetune.base_model import CHANNEL, BaseModel, load_weights, lora_config
from model.finetune.hyperparameters import Hyperparameters
from model.finetune.job import Place
from model.finetune.publishing import publish


@dataclass
class Artifact:
    """Of one process of a run. `begin` and `finish` are called on every process; the first one alone asks and writes."""

    asked: Hyperparameters
    place: Place
    base: BaseModel
    requests: Sequence[samples.Request] = ()
    before: list[str] = field(default_factory=list)

    def begin(self, trainer: Trainer, rows: Iterable[Mapping[str, Any]]) -> None:
        """Ask what is asked again after the training. Raises BadInputError where there is no room for what is to be written."""
        if not trainer.is_world_process_zero():
            return
        model = trainer.accelerator.unwrap_model(trainer.model)
        output.require_room(self.place.model, model, self.asked)
        self.requests = samples.requests_of(rows)
        loaded = inference.Loaded(model, self.base.tokenizer, self.version, inference.context_length(model))
        self.before = samples.texts_of(loaded, self.requests)

    def finish(self, trainer: Trainer) -> None:
        """Write it, and push it to the Hub where that is asked for; a push that fails is told and loses nothing."""
        model = output.whole_model(trainer, self._rebuilt)
        if model is None:
            return
        state = trainer.state
        run = card.run_of(
            state.log_history, steps=state.global_step, epochs=state.epoch or 0.0, tokens=state.num_input_tokens_seen
        )
        data = card.data_files({name: self.place.channel(name) for name in self.place.channels if name != CHANNEL})
        story = output.Story(run, self.version, self.base_name, self.base.revision, data, self.requests, self.before)
        output.write_output(self.place.model, model, self.base.tokenizer, self.asked, story, rebuilt=self._rebuilt)
        if self.asked.push_to_hub:
            publish(self.place.model, self.asked, self.base.token)

    @property
    def version(self) -> str:
        """The job's name: what a model is known by everywhere."""
        return os.environ.get("TRAINING_JOB_NAME") or "fine-tuned"

    @property
    def base_name(self) -> str:
        """An address or an id where there is one; a path of this instance says nothing anywhere else."""
        return self.asked.model_name or f"the model of channel {CHANNEL!r}"

    def _rebuilt(self) -> PreTrainedModel | PeftModel:
        plain = self.asked.model_copy(update={"quantization": "none"})
        model = load_weights(plain, self.base)
        adapter = lora_config(plain)
        return model if adapter is None else get_peft_model(model, adapter)
