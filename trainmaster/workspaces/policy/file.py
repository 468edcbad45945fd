"""The file that says what people may have: read anew each time, so that a change of it holds at once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from trainmaster.errors import NotConfiguredError
from trainmaster.local_settings import LocalSettings
from trainmaster.workspaces.lined_yaml import LinedYamlError, Wrong, read_yaml
from trainmaster.workspaces.policy.rules import Policy

SHIPPED = Path(__file__).parents[3] / "deployments" / "policy.yaml"


def policy_path(settings: LocalSettings) -> Path:
    """Where the policy is: TRAINMASTER_POLICY_FILE, or the shipped one."""
    return settings.policy_file or SHIPPED


def load_policy(settings: LocalSettings) -> Policy:
    """The policy in force. Raises NotConfiguredError with all that is wrong with its file, or when there is none: without a policy
    nothing is allowed."""
    path = policy_path(settings)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotConfiguredError(
            f"The policy {path} cannot be read: {error}. Give TRAINMASTER_POLICY_FILE the path of a policy."
        ) from error
    return read_policy(text, path)


@lru_cache(maxsize=8)
def read_policy(text: str, path: Path) -> Policy:
    """The policy a text says. Raises NotConfiguredError with all that is wrong, by line and key of the file at `path`."""
    try:
        document = read_yaml(text)
    except LinedYamlError as error:
        raise _unusable(path, error.wrongs) from error
    try:
        return Policy.model_validate(document.value)
    except ValidationError as error:
        raise _unusable(path, document.wrongs(error)) from error


def _unusable(path: Path, wrongs: list[Wrong] | tuple[Wrong, ...]) -> NotConfiguredError:
    said = "".join(f"\n  {one.sentence()}" for one in wrongs)
    return NotConfiguredError(
        f"The policy {path} cannot be used, and nothing is allowed without one:{said}\nMend it; docs/policy.md has every key."
    )
