"""docs/reference/hyperparameters.md: what a fine-tuning can be told."""

from __future__ import annotations

import json
from typing import Any

from docs.generate.markdown import code, page, prose, table
from model.finetune.foreign_names import OURS
from model.finetune.hyperparameters import Hyperparameters
from model.finetune.wanted import wanted

_ABOUT = (
    "Keys of a training config with a `training_method`, and of a request's hyperparameters, which win. Values may be JSON or text"
    ' (`true` or `"true"`, `1e-4` or `"1e-4"`, a list or `"[\\"q_proj\\"]"`); null is as if left out. Names, bounds and combinations are'
    " checked before anything is launched (`trainmaster train plan` lists all that is wrong), and by the job again."
)
_FOREIGN = (
    "What other trainers call them is not taken for ours: what a name means may differ (steps for a ratio, a total for a batch), and a run is"
    " not to train on a guess. The message says the name here."
)


def reference() -> str:
    """The page."""
    fields = Hyperparameters.model_fields.items()
    rows = [
        [code(name), prose(field.description), prose(wanted(Hyperparameters, name)), _default(field.default)]
        for name, field in fields
    ]
    theirs = [[code(name), ", ".join(code(each) for each in OURS if OURS[each] == name)] for name, _ in fields]
    return page(
        "Hyperparameters of fine-tuning",
        _ABOUT,
        table(["name", "what", "takes", "without it"], rows),
        "## Known by other names",
        _FOREIGN,
        table(["name", "elsewhere"], [row for row in theirs if row[1]]),
    )


def _default(value: Any) -> str:
    if value in ("", None, ()):
        return ""
    return code(
        ", ".join(value) if isinstance(value, tuple) else value if isinstance(value, str) else json.dumps(value)
    )
