"""Canvas: one app of the user profile, without code and without a space; billed by the session until it is logged out of."""

from __future__ import annotations

from trainmaster.workspaces.studio.plan import APP_NAME, CANVAS, profile_name
from trainmaster.workspaces.studio.space import Studio
from trainmaster.workspaces.workspace import Workspace


class Canvas(Studio):
    """As Studio, with an app that is the user's rather than a space's: a user has one in a domain, and its files are in S3."""

    def _app_type(self, workspace: Workspace) -> str:  # noqa: ARG002 - Studio's depends on it
        return CANVAS

    def _app_names(self, workspace: Workspace) -> dict[str, str]:
        return {
            "DomainId": workspace.resources["domain_id"],
            "UserProfileName": profile_name(workspace),
            "AppType": CANVAS,
            "AppName": APP_NAME,
        }
