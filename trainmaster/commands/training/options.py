"""What `trainmaster train plan|start` is told: an option for each field of a training request, or a file with the request."""

from __future__ import annotations

from trainmaster.commands.terminal.request_options import RequestOptions
from trainmaster.field_words import TRAINING_PATTERNS
from trainmaster.training.request import TrainingRequest

REQUEST = RequestOptions(
    TrainingRequest,
    example='{"model_name": "cats"}',
    # `train plan` is the dry run, `--follow` the waiting, and a run alone is of a job.
    without=frozenset({"dry_run", "wait", "of_job"}),
    spelled={"user_id": ("--user", "--user-id")},
    patterns={
        **TRAINING_PATTERNS,
        "training_config_id": f"{TRAINING_PATTERNS['training_config_id']}; `trainmaster configs list` shows yours",
    },
)
