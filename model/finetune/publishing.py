"""A written model to the Hugging Face Hub: whatever goes wrong there, the job keeps its model."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from requests import RequestException

from model.finetune.failures import shown
from model.finetune.hyperparameters import Hyperparameters

NOT_PUSHED = ["code/*", "smoke_test.json", "model_card.json", "*.unfinished*"]
"""What SageMaker and Trainmaster need alone."""


def publish(folder: Path, asked: Hyperparameters, token: str | None, *, endpoint: str | None = None) -> bool:
    """Whether it came there; prints one line that says where, or why not, without the token.

    A new repository is private unless `hub_private` is false; of one that is there nothing is changed but its files.
    """
    api = HfApi(endpoint=endpoint, token=token or False)
    try:
        api.create_repo(asked.hub_model_id, private=asked.hub_private, exist_ok=True)
        pushed = api.upload_folder(
            folder_path=folder,
            repo_id=asked.hub_model_id,
            ignore_patterns=NOT_PUSHED,
            commit_message="Trained by Trainmaster",
        )
    except (HfHubHTTPError, HFValidationError, RequestException, OSError) as error:
        print(
            f"The model was not pushed to {asked.hub_model_id}: {shown(str(error)[:500])}"
            " The job's own copy is whole: push it by hand, by `hf upload`.",
            flush=True,
        )
        return False
    print(f"The model was pushed to {pushed.commit_url}.", flush=True)
    return True
