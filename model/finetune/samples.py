"""What the model answers to a few prompts of its own data: before training, after it, and as what serves it is to answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from model.finetune.inference import Loaded, RefusedError, answer, ask_of, end_tokens, prompt_of

MOST = 4
TOKENS = 48
LONGEST_SECONDS = 20.0
"""For each answer: what takes longer is cut."""
LONGEST_PROMPT = 2000
"""Characters: prompts are shown to people, and asked of an endpoint each time it is deployed."""
LOOKED_AT = 200
"""Rows that prompts are taken from."""
CERTAIN = 1.0
"""How far a token's logit leads the next one's where another machine's arithmetic is sure to choose the same."""

Request = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """A request, what was answered greedily, and the beginning of that which any machine answers; `whole` when that is all of it."""

    request: Request
    text: str
    certain: str
    whole: bool


def requests_of(rows: Iterable[Mapping[str, Any]], most: int = MOST) -> list[Request]:
    """Of the first different prompts among the rows; the same for the same rows."""
    found: dict[str, Request] = {}
    for _, row in zip(range(LOOKED_AT), rows, strict=False):
        prompt = _prompt(row)
        if prompt and len(found) < most and len(str(prompt)) <= LONGEST_PROMPT:
            found.setdefault(str(prompt), {**prompt, "parameters": {"max_new_tokens": TOKENS}})
    return list(found.values())


def texts_of(loaded: Loaded, requests: Sequence[Request]) -> list[str]:
    """What is answered to each; "" where the prompt is longer than the model takes."""
    return [one.text if one else "" for one in (_sample(loaded, request) for request in requests)]


def samples_of(loaded: Loaded, requests: Sequence[Request]) -> list[Sample]:
    """Of the prompts that the model takes, with what is certain of each answer."""
    return [one for one in (_sample(loaded, request) for request in requests) if one]


def _prompt(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is asked in one row of any canonical format; None where nothing is."""
    prompt = row.get("prompt")
    if isinstance(prompt, str) and prompt:
        return {"inputs": prompt}
    text = row.get("text")
    if isinstance(text, str) and text.strip():
        return {"inputs": text[: max(1, min(len(text) // 3, 200))].rstrip() or text[:1]}
    messages = prompt or row.get("messages") or row.get("chosen")
    if not isinstance(messages, list) or not messages:
        return None
    said = [{"role": one["role"], "content": one["content"]} for one in messages if isinstance(one.get("content"), str)]
    while said and said[-1]["role"] == "assistant":
        said.pop()
    return {"messages": said} if said else None


@torch.inference_mode()
def _sample(loaded: Loaded, request: Request) -> Sample | None:
    was_training = loaded.model.training
    loaded.model.eval()
    try:
        ask = ask_of(dict(request))
        prompt = prompt_of(ask, loaded)
        text = str(answer(loaded, ask, prompt, seconds=LONGEST_SECONDS)["generated_text"])
        return _certain(loaded, request, prompt, text)
    except RefusedError:
        return None
    finally:
        loaded.model.train(was_training)


def _certain(loaded: Loaded, request: Request, prompt: list[int], text: str) -> Sample:
    """By how far each token of the greedy answer leads, looked at in one pass over prompt and answer."""
    model, tokenizer = loaded.model, loaded.tokenizer
    ends = end_tokens(model, tokenizer)
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([[*prompt, *tokens]], device=model.device)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, len(prompt) - 1 :].float()
    best = logits.topk(2, dim=-1)
    leads = (best.values[:, 0] - best.values[:, 1]).tolist()
    chosen = best.indices[:, 0].tolist()
    sure = 0
    while sure < len(tokens) and chosen[sure] == tokens[sure] and leads[sure] >= CERTAIN:
        sure += 1
    whole = sure == len(tokens) and chosen[sure] in ends and leads[sure] >= CERTAIN
    certain = (
        text if sure == len(tokens) else tokenizer.decode(tokens[:sure], skip_special_tokens=True).rstrip("\ufffd")
    )
    return Sample(request, text, certain if text.startswith(certain) else "", whole)
