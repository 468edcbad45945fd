"""Serves a fine-tuned language model: JSON `{"messages": […]}` or `{"inputs": "…"}` in, `{"generated_text": "…"}` out."""

from __future__ import annotations

import json
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def model_fn(model_dir: str, context: Any = None) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    return AutoModelForCausalLM.from_pretrained(model_dir).eval(), tokenizer


def input_fn(body: Any, content_type: str, context: Any = None) -> Any:
    return json.loads(body)


@torch.inference_mode()
def predict_fn(data: Any, loaded: Any, context: Any = None) -> Any:
    model, tokenizer = loaded
    if "messages" in data:
        ids = tokenizer.apply_chat_template(data["messages"], add_generation_prompt=True, return_tensors="pt")
    else:
        ids = tokenizer(data["inputs"], return_tensors="pt").input_ids
    made = model.generate(ids, max_new_tokens=int(data.get("max_new_tokens", 64)), do_sample=False)
    return {"generated_text": tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)}


def output_fn(prediction: Any, accept: str, context: Any = None) -> Any:
    return json.dumps(prediction)
