"""Which canonical formats of datasets each method learns from. Pure: asked before a launch, and again of each row in the job."""

from __future__ import annotations

from collections.abc import Mapping

USABLE: Mapping[str, Mapping[str, str]] = {
    "sft": {"chatml": "", "dpo": "Of dpo examples it learns the chosen answer.", "prompt and completion": ""},
    "cpt": {"raw_text": "", "chatml": "Of conversations it learns every turn, as the chat template writes them."},
    "dpo": {"dpo": ""},
    "orpo": {"dpo": ""},
    "kto": {
        "kto": "",
        "dpo": "Of dpo examples it takes the chosen answer for good and the rejected one for bad.",
        "rlhf": "Of rlhf examples it takes the answer for good where the reward is above reward_threshold, for bad where below.",
    },
}
"""Formats that each method learns from, and what is to be said where it is not plain how."""
_LEARNED_BY = {
    "chatml": "training_method sft learns from conversations",
    "dpo": "training_method dpo and orpo learn from pairs of answers",
    "kto": "training_method kto learns from answers with a label",
    "rlhf": "training_method kto learns from answers with a reward",
    "raw_text": "training_method cpt learns from plain text",
    "prompt and completion": "training_method sft learns from prompts and completions",
    "jsonl": "no method learns from objects of just any shape: upload the dataset as one of the other formats",
}


def misfit(method: str, format_: str) -> str:
    """Why a method can learn nothing from examples of a format, and what would do; empty where it can."""
    if format_ in USABLE[method]:
        return ""
    return f"training_method {method} learns from: {', '.join(USABLE[method])}; {_LEARNED_BY[format_]}."
