"""Base models of the Hugging Face Hub: which commit it is, and its files, without pickles or programs. Imports no PyTorch."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from requests.exceptions import ConnectionError as NoConnectionError
from requests.exceptions import RequestException, Timeout

from model.finetune.problems import BadInputError

WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
"""Neither pickles nor Python."""
TRIES = 4
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PASSING = {429, 500, 502, 503, 504}
_OTHERWISE = "Upload it to S3 and give its prefix as model_name, which needs no network."

T = TypeVar("T")


def commit_of(name: str, revision: str, token: str | None) -> str:
    """Which commit a branch or tag is at this moment; a commit is one for ever, but has to be there. Raises BadInputError."""
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token or False)
    info = _patiently(lambda: api.model_info(name, revision=revision or "main", timeout=20), name, revision)
    files = {each.rfilename for each in info.siblings or ()}
    if files and "config.json" not in files:
        what = " It is an adapter: merge it with its base model first." * ("adapter_config.json" in files)
        raise BadInputError(f"{name} on the Hub has no config.json, and so is no model of transformers.{what}")
    if files and not any(file.endswith(".safetensors") for file in files):
        pickled = any(file.endswith(".bin") for file in files)
        what = "only as pickles, which can run programs when they are read" if pickled else "not at all"
        raise BadInputError(
            f"{name} on the Hub has its weights {what}. Choose a model, or a revision, with safetensors."
        )
    return str(info.sha or revision)


def download(name: str, commit: str, token: str | None, cache: Path) -> Path:
    """The folder of its files, fetched by whichever process of this host comes first. Raises BadInputError."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "download.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return Path(
            _patiently(
                lambda: snapshot_download(
                    name, revision=commit, cache_dir=cache, token=token or False, allow_patterns=WANTED,
                    endpoint=os.environ.get("HF_ENDPOINT"),
                ),
                name, commit,
            )
        )  # fmt: skip


def is_commit(revision: str) -> bool:
    return bool(_COMMIT.fullmatch(revision))


def _patiently(call: Callable[[], T], name: str, revision: str) -> T:
    """Tried again where it may work later. Raises BadInputError that says what to do."""
    for left in reversed(range(TRIES)):
        try:
            return call()
        except GatedRepoError as error:
            raise BadInputError(
                f"{name} is gated on the Hub. Accept its terms there, and give hub_token_secret_arn: the ARN of a secret with a token"
                " of the account that did."
            ) from error
        except RevisionNotFoundError as error:
            raise BadInputError(f"{name} on the Hub has no revision {revision!r}. Correct model_revision.") from error
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise BadInputError(
                f"There is no model {name} on the Hub, or it is private. Correct model_name, or give hub_token_secret_arn: the ARN of"
                " a secret with a token that may read it."
            ) from error
        except (HfHubHTTPError, LocalEntryNotFoundError, NoConnectionError, Timeout) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status in (401, 403):
                raise BadInputError(
                    f"The Hub refuses {name} with status {status}: the token in hub_token_secret_arn is no longer valid, or may not"
                    " read it."
                ) from error
            if left and (status is None or status in _PASSING):
                time.sleep(2 ** (TRIES - left))
                continue
            said = f"answers with status {status}" if status else f"cannot be reached ({type(error).__name__})"
            raise BadInputError(f"The Hub {said}, so that {name} cannot be fetched. {_OTHERWISE}") from error
        except RequestException as error:
            raise BadInputError(
                f"{name} cannot be fetched from the Hub ({type(error).__name__}). {_OTHERWISE}"
            ) from error
    raise AssertionError("unreachable: the last try returns or raises")
