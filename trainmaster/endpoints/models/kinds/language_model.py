"""Language models, as fine-tuning jobs leave them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from trainmaster.endpoints.models.code import HUGGING_FACE, Container
from trainmaster.endpoints.models.kinds.kind import Agreement, Example
from trainmaster.errors import DeploymentFailedError
from trainmaster.training.trainers import Framework

LOADING_SECONDS = 1800
"""A container may take as long to download and load a model: AWS's own limit is an hour."""
SHOWN, SHOWN_CHARACTERS = 2, 120
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_ENDINGS = ("stop", "length", "time")


class LanguageModels:
    """Their cards say `"kind": "language-model"`; they answer `{"generated_text": …}`."""

    name: str = "language-model"
    framework: Framework = "hugging face"
    container: Container = HUGGING_FACE
    content_types: Sequence[str] = ("application/json",)
    longest_milliseconds: float = 30_000.0
    environment: Mapping[str, str] = MappingProxyType(
        {
            "SAGEMAKER_MODEL_SERVER_WORKERS": "1",  # each loads the weights anew, and there is one for a CPU otherwise
            "SAGEMAKER_MODEL_SERVER_TIMEOUT": str(LOADING_SECONDS),  # of loading too; it is 60 s otherwise
        }
    )
    hosting: Mapping[str, int] = MappingProxyType(
        {
            "ModelDataDownloadTimeoutInSeconds": LOADING_SECONDS,
            "ContainerStartupHealthCheckTimeoutInSeconds": LOADING_SECONDS,
        }
    )
    trains_where_it_serves: bool = False
    wanted_examples: str = (
        "requests with the generated_text, and the certain_text it begins with, that each had in training"
    )

    def card_problem(self, card: Mapping[str, Any], names: Collection[str]) -> str | None:
        if not _is_request(card.get("example")):
            return "has no example of a request"
        if not isinstance(card.get("model_version"), str) or not card["model_version"]:
            return "has no model_version"
        if not _is_count(card.get("parameters")) or not card["parameters"]:
            return "does not say how many parameters it has"
        return _weights_problem(card, names)

    def sample(self, card: Mapping[str, Any]) -> dict[str, Any]:
        return dict(card["example"])

    def examples(self, card: Mapping[str, Any], said: Any) -> tuple[Example, ...] | None:  # noqa: ARG002
        listed = said.get("answers") if isinstance(said, dict) else None
        if not isinstance(listed, list) or not all(_is_example(one) for one in listed):
            return None
        return tuple(
            Example(one["request"], {name: one[name] for name in ("generated_text", "certain_text", "whole")})
            for one in listed
        )

    def implausible(self, answer: Mapping[str, Any], card: Mapping[str, Any]) -> str | None:
        if not isinstance(answer.get("generated_text"), str):
            return "generated_text is no text"
        if answer.get("model_version") != card["model_version"]:
            return f"model_version should be {card['model_version']}"
        if answer.get("finish_reason") not in _ENDINGS:
            return f"finish_reason should be one of {', '.join(_ENDINGS)}"
        usage = answer.get("usage")
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else []
        return None if counts and all(map(_is_count, counts)) else "usage does not count its tokens"

    def agreement(self, subject: str, examples: Sequence[Example], answers: Sequence[Mapping[str, Any]]) -> Agreement:
        """Each answer must begin with what was certain of it in training, and be that where all of it was: from the first token
        that was not, other GPUs and libraries may well go on otherwise."""
        apart = [
            (example, answer["generated_text"])
            for example, answer in zip(examples, answers, strict=True)
            if not _agrees(answer["generated_text"], example.answered)
        ]
        if apart:
            shown = "; ".join(
                f"{_asked(example.inputs)} by {_cut(text)}, in training by {_cut(example.answered['generated_text'])}"
                for example, text in apart[:SHOWN]
            )
            raise DeploymentFailedError(
                f"{subject} answers {len(apart)} of {len(examples)} prompts otherwise than its training did: {shown}."
                " What serves is not what was trained."
            )
        certain = sum(len(example.answered["certain_text"]) for example in examples)
        if not examples or not certain:
            why = "its training was certain of no answer" if examples else "the artifact has no examples"
            return Agreement(examples=0, said=f"not checked: {why}; it answers in the right form")
        whole = sum(example.answered["whole"] for example in examples)
        return Agreement(
            examples=len(examples),
            said=(
                f"{len(examples)} prompts are answered as in training, {whole} of them to the last token;"
                f" {certain} characters were certain there"
            ),
        )

    def needed_gib(self, card: Mapping[str, Any], *, on_gpus: bool) -> float:
        """Weights of two bytes on GPUs and of four without one, a fifth more for what is computed, and 1 GiB for the libraries."""
        return float(card["parameters"]) * (2 if on_gpus else 4) * 1.2 / (1 << 30) + 1

    def uses(self, card: Mapping[str, Any]) -> str:
        how = str(card.get("algorithm") or "fine-tuning")
        return (
            f"Answers conversations and goes on with texts; made by {how}. The application decides whom it may answer."
        )

    def quality(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        return {"text_generation_metrics": {name: {"value": value} for name, value in sorted(metrics.items())}}


def _agrees(text: str, answered: Mapping[str, Any]) -> bool:
    certain: str = answered["certain_text"]
    return text == certain if answered["whole"] else text.startswith(certain)


def _weights_problem(card: Mapping[str, Any], names: Collection[str]) -> str | None:
    if "config.json" in names and _has_weights(names, ""):
        return None
    if not _has_weights(names, "adapter/"):
        return "speaks of weights, and the artifact has neither model.safetensors with its config.json nor an adapter"
    base = card.get("base_model")
    name = base.get("name") if isinstance(base, dict) else None
    if isinstance(name, str) and _HUB_NAME.fullmatch(name):
        return None
    return (
        f"names as the adapter's base model {name!r}, which no endpoint can load from the Hub: train with merge_weights"
    )


def _is_request(value: Any) -> bool:
    return isinstance(value, dict) and (isinstance(value.get("messages"), list) or isinstance(value.get("inputs"), str))


def _is_example(one: Any) -> bool:
    return (
        isinstance(one, dict)
        and _is_request(one.get("request"))
        and isinstance(one.get("generated_text"), str)
        and isinstance(one.get("certain_text"), str)
        and one["generated_text"].startswith(one["certain_text"])
        and isinstance(one.get("whole"), bool)
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _has_weights(names: Collection[str], folder: str) -> bool:
    return any(
        name.startswith(folder) and "/" not in name.removeprefix(folder) and name.endswith(".safetensors")
        for name in names
    )


def _asked(request: Mapping[str, Any]) -> str:
    said = request["inputs"] if "inputs" in request else request["messages"][-1].get("content", "")
    return _cut(str(said))


def _cut(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…")
