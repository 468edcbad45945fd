"""docs/reference/settings.md: every environment variable that decides something."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from docs.generate.markdown import code, page, prose, table
from trainmaster.schema_words import kind
from trainmaster.settings import Settings

ROOT = Path(__file__).parents[2]
_ABOUT = (
    "Environment variables, read when a process starts and never later; an empty one is as if unset. A worker, the HTTP API and the command"
    " line read the same. `trainmaster doctor` says what is missing or does not fit, and what to do about it. What is marked as secret is never"
    " shown: not in a log, a form or an error."
)
ELSEWHERE = {
    "AWS_PROFILE, AWS_ACCESS_KEY_ID …": "Credentials: AWS's default chain, as for every other program. A worker may have a block of them instead.",
    "AWS_ENDPOINT_URL": "Another address than AWS's own. The embedded AWS sets it, and that is all that makes it the embedded one.",
    "PREFECT_API_URL": "The Prefect server or Cloud that runs are started on; Prefect's own profiles without it.",
    "PREFECT_API_KEY": "Its key, for Prefect Cloud. Secret.",
    "TRAINMASTER_DEBUG": "`1`: every command says where an error came from, as with `--debug`.",
    "TRAINMASTER_HTTP_URL, TRAINMASTER_HTTP_TOKEN": "Not read, but written by `make up` into `.trainmaster/env`: where it serves the HTTP API, and a token of the user there is on a laptop.",
    "TRAINMASTER_RESERVATION": "Not a setting: a build of an image has it, and with it says which reservation pays for it.",
    "TRAINMASTER_NAMESPACES": "`off`: the embedded AWS runs jobs and endpoints without namespaces of their own, where they would work.",
    "TRAINMASTER_SOAK": "Marks the processes of `make soak`, so that it finds those that are left.",
    "NO_COLOR": "Set to anything: no colour and no bars, whatever the terminal can do.",
}
"""What is not a setting of ours, but decides as much."""


def reference() -> str:
    """The page."""
    rows = [
        [code(name), prose(field.description) or _untold(name), _takes(own, field), _default(field)]
        for own, field in Settings.model_fields.items()
        for name in [variable(own, field)]
    ]
    return page(
        "Settings",
        _ABOUT,
        table(["variable", "what", "takes", "without it"], rows),
        "## Not ours, but read",
        table(["variable", "what"], [[", ".join(map(code, _names(each))), what] for each, what in ELSEWHERE.items()]),
    )


def variable(own: str, field: FieldInfo) -> str:
    """The name of the environment variable, the first where there are several."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return alias if isinstance(alias, str) else f"TRAINMASTER_{own.upper()}"


def _names(said: str) -> Iterator[str]:
    return (name.removesuffix(" …") for name in said.split(", "))


def _untold(name: str) -> str:
    if name == "TRAINMASTER_REGION":
        return "AWS region that everything runs in; `AWS_REGION` and `AWS_DEFAULT_REGION` are asked after it."
    raise ValueError(f"{name} has no description in trainmaster/settings.py.")


def _takes(own: str, field: FieldInfo) -> str:
    schema = Settings.model_json_schema()["properties"]
    found = schema.get(own) or schema[variable(own, field)]
    return ("secret " if "SecretStr" in str(field.annotation) else "") + kind(
        found, Settings.model_json_schema().get("$defs", {})
    )


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if isinstance(default, Path):
        return code(default.relative_to(ROOT) if default.is_relative_to(ROOT) else default)
    if isinstance(default, SecretStr) or default in (None, "", (), []):
        return ""
    return code(default.value if isinstance(default, Enum) else json.dumps(default, default=str).strip('"'))
