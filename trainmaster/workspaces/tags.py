"""How AWS's parts of a workspace are tagged: whose they are, and what made them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainmaster.workspaces.workspace import Workspace

WORKSPACE_TAG = "trainmaster:workspace"
"""Its slug."""
OWNER_TAG = "trainmaster:owner"
"""The UUID of the user, or NOBODY."""
TEMPLATE_TAG = "trainmaster:template"
TEAM_TAG = "trainmaster:team"
FINGERPRINT_TAG = "trainmaster:fingerprint"
NOBODY = "nobody"
RESERVED_PREFIXES = ("trainmaster:", "aws:")
"""Of tags that no request may choose."""


def owner_of(workspace: Workspace) -> str:
    """As tags and user profiles name it."""
    return str(workspace.user_id) if workspace.user_id else NOBODY


def tags_of(workspace: Workspace) -> dict[str, str]:
    """On everything that is made for it: those of its request and template, under ours."""
    ours = {
        WORKSPACE_TAG: workspace.slug,
        OWNER_TAG: owner_of(workspace),
        TEMPLATE_TAG: workspace.template,
        FINGERPRINT_TAG: workspace.fingerprint,
        **({TEAM_TAG: workspace.team} if workspace.team else {}),
    }
    return {**workspace.spec.get("tags", {}), **ours}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """As most of AWS takes them."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def listed_tags(described: list[dict[str, Any]]) -> dict[str, str]:
    """As most of AWS tells them."""
    return {tag["Key"]: tag["Value"] for tag in described}
