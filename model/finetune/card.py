"""What is said of a trained model: `model_card.json`, which Trainmaster reads, and README.md, the same facts for people. Imports no PyTorch."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

KIND = "language-model"
METHODS = {
    "sft": "supervised fine-tuning",
    "dpo": "direct preference optimization",
    "orpo": "odds ratio preference optimization",
    "kto": "Kahneman-Tversky optimization",
    "cpt": "continued pre-training",
}
SHOWN_CHARACTERS = 600
GZIPPED = b"\x1f\x8b"


@dataclass(frozen=True)
class DataFile:
    """A file that was trained or evaluated on."""

    channel: str
    file: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class Run:
    """How the training went: losses and what follows from them, optimizer steps, tokens, and seconds since it last began."""

    steps: int = 0
    epochs: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """All that a card is made of."""

    version: str
    base_name: str
    base_revision: str
    hyperparameters: Mapping[str, Any]
    data: Sequence[DataFile]
    run: Run
    libraries: Mapping[str, str]
    parameters: int
    context_length: int
    merged: bool
    samples: Sequence[Mapping[str, Any]]
    """`request`, what was answered `before` and `after`."""


def data_files(channels: Mapping[str, Path]) -> list[DataFile]:
    """Of the channels, each read once; a row is a line that is not blank."""
    return [
        _data_file(name, folder, path)
        for name, folder in sorted(channels.items())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def run_of(history: Sequence[Mapping[str, float]], *, steps: int, epochs: float, tokens: int) -> Run:
    """From the trainer's log: the first and the last loss, what the last evaluation said, and the perplexity of that."""
    metrics: dict[str, float] = {}
    losses = [entry["loss"] for entry in history if "loss" in entry]
    if losses:
        metrics |= {"loss_first": losses[0], "loss_last": losses[-1]}
    for entry in history:
        for name, value in entry.items():
            if name in ("train_loss", "train_runtime") or (
                name.startswith("eval_") and name != "eval_num_tokens" and "_per_second" not in name
            ):
                metrics[name] = value
    if "eval_loss" in metrics and metrics["eval_loss"] < 700:
        metrics["perplexity"] = math.exp(metrics["eval_loss"])
    metrics.pop("eval_runtime", None)
    seconds = metrics.pop("train_runtime", 0.0)
    counted = max((int(entry["num_tokens"]) for entry in history if "num_tokens" in entry), default=0)
    finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
    return Run(steps, epochs, tokens or counted, seconds, finite)


def card_of(facts: Facts) -> dict[str, Any]:
    """Strict JSON. `data`, `rows`, `model_version` and `algorithm` are called as in the cards of other models."""
    rows = {role: sum(one.rows for one in facts.data if _role(one) == role) for role in ("training", "validation")}
    return {
        "kind": KIND,
        "model_version": facts.version,
        "algorithm": algorithm_of(facts),
        "base_model": {"name": facts.base_name, "revision": facts.base_revision},
        "weights": "merged" if facts.merged else "adapter",
        "parameters": facts.parameters,
        "context_length": facts.context_length,
        "hyperparameters": dict(facts.hyperparameters),
        "data": [asdict(one) for one in facts.data],
        "rows": {**rows, "total": sum(rows.values())},
        "metrics": dict(facts.run.metrics),
        "steps": facts.run.steps,
        "epochs": facts.run.epochs,
        "tokens_seen": facts.run.tokens,
        "seconds": facts.run.seconds,
        "libraries": dict(facts.libraries),
        "samples": [dict(one) for one in facts.samples],
        "example": dict(facts.samples[0]["request"]) if facts.samples else {"inputs": "Hello"},
    }


def algorithm_of(facts: Facts) -> str:
    how = "all weights" if facts.hyperparameters.get("finetuning_type") == "full" else "LoRA"
    method = str(facts.hyperparameters.get("training_method", "sft"))
    return f"{METHODS.get(method, method)} ({how}) of {facts.base_name}"


def readme_of(facts: Facts) -> str:
    """A model card as the Hub shows it: its front matter, then the facts."""
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    tags = ["trainmaster", str(facts.hyperparameters.get("training_method", "sft"))]
    if _is_hub_name(facts.base_name):
        front["base_model"] = facts.base_name
        front["base_model_relation"] = "finetune" if facts.merged else "adapter"
    lines = [
        "---",
        *(f"{name}: {json.dumps(value)}" for name, value in front.items()),
        f"tags: {json.dumps(tags)}",
        "---",
    ]
    lines += ["", f"# {facts.version}", "", f"Made by {algorithm_of(facts)}."]
    revision = f" at revision `{facts.base_revision}`" if facts.base_revision else ""
    left = "merged into the base model's weights" if facts.merged else "an adapter, to be loaded with its base model"
    lines += ["", f"Base model: `{facts.base_name}`{revision}. What is here is {left}."]
    lines += ["", "## How it went", "", *_table(("figure", "value"), _figures(facts))]
    rows = [(one.channel, one.file, f"{one.rows:,}", f"`{one.sha256}`") for one in facts.data]
    lines += ["", "## Data", "", *_table(("channel", "file", "rows", "SHA-256"), rows)]
    told = [(name, f"`{json.dumps(value)}`") for name, value in facts.hyperparameters.items()]
    lines += ["", "## Hyperparameters", "", *_table(("name", "value"), told)]
    lines += ["", "## Libraries", "", *_table(("name", "version"), list(facts.libraries.items()))]
    if facts.samples:
        lines += ["", "## Before and after", "", "The same prompts, answered greedily."]
    for one in facts.samples:
        for name, text in (("Asked", _asked(one["request"])), ("Before", one["before"]), ("After", one["after"])):
            lines += ["", f"{name}:", "", *(f"    {line}" for line in _cut(text).splitlines() or [""])]
    return "\n".join(lines) + "\n"


def _figures(facts: Facts) -> list[tuple[str, str]]:
    run = facts.run
    figures = {
        "steps": f"{run.steps:,}",
        "epochs": f"{run.epochs:.2f}",
        "tokens seen": f"{run.tokens:,}" if run.tokens else "",
        "seconds": f"{run.seconds:,.0f}" if run.seconds else "",
        "parameters": f"{facts.parameters:,}",
        "context length": f"{facts.context_length:,}",
        **{name: f"{value:.4g}" for name, value in run.metrics.items()},
    }
    return [(name, value) for name, value in figures.items() if value]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in cells]


def _asked(request: Mapping[str, Any]) -> str:
    if "inputs" in request:
        return str(request["inputs"])
    return "\n".join(f"{one['role']}: {one['content']}" for one in request["messages"])


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith(("/", ".", "s3:"))


def _role(one: DataFile) -> str:
    return "validation" if one.channel.partition("-")[0] == "validation" else "training"


def _data_file(channel: str, folder: Path, path: Path) -> DataFile:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        zipped = file.read(2) == GZIPPED
    with gzip.open(path) if zipped else path.open("rb") as lines:
        rows = sum(bool(line.strip()) for line in lines)
    return DataFile(channel, path.relative_to(folder).as_posix(), sha256, rows)
