"""Studio Lab: free, outside of the AWS account and without an API. What is kept of it is that it was opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from trainmaster.errors import RefusedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.kinds import Access, Seen, Step
from trainmaster.workspaces.spec import spec_of
from trainmaster.workspaces.workspace import Status, Workspace

ADDRESS = "https://studiolab.sagemaker.aws"
NO_API = (
    "AWS has no API for Studio Lab: whether it runs, and stopping or deleting it, is seen and done on its own page."
)
NOT_OPENED = "AWS has no API for Studio Lab: nothing was opened there, its address was kept."
NOT_STOPPED = (
    "AWS has no API for Studio Lab: that goes for our row alone. Stop its session on its own page, where its files are."
)
NOT_DELETED = (
    "AWS has no API for Studio Lab: that goes for our row alone. Delete its files on its own page, if they are to go."
)


class StudioLab:
    """Nothing is asked of AWS: a workspace stands as its row says."""

    def look(self, desk: Desk, workspaces: Sequence[Workspace]) -> Mapping[UUID, Seen]:  # noqa: ARG002 - Kind's
        """As last written down; one that was never opened is pending."""
        return {one.id: Seen(_status(one)) for one in workspaces}

    def plan_open(self, desk: Desk, workspace: Workspace) -> list[Step]:  # noqa: ARG002 - Kind's
        """Keeping its address."""
        return [] if _status(workspace) == "running" else [Step("keep", "address", project_url(workspace))]

    def open(self, desk: Desk, workspace: Workspace) -> Workspace:
        """Written down as open."""
        if not workspace.resources.get("project_url"):
            workspace = desk.catalogue.workspaces.note_resources(workspace, project_url=project_url(workspace))
        return replace(workspace, status="running")

    def stop(self, desk: Desk, workspace: Workspace) -> None:
        """Nothing: people do that on its page."""

    def delete(self, desk: Desk, workspace: Workspace) -> None:
        """Nothing: people do that on its page."""

    def access(self, desk: Desk, workspace: Workspace) -> Access:  # noqa: ARG002 - Kind's
        """The address that imports its repository. Raises RefusedError."""
        if not workspace.resources.get("project_url"):
            raise RefusedError(
                f"Workspace {workspace.name} is not open. `trainmaster start {workspace.name}` opens it."
            )
        return Access(url=workspace.resources["project_url"], note=NO_API)


def project_url(workspace: Workspace) -> str:
    """Studio Lab's page that imports a file or repository of GitHub; its own page without one.

    Source: https://docs.aws.amazon.com/sagemaker/latest/dg/studio-lab-use-external.html
    """
    asked = spec_of(workspace).template.service_config.project_url
    path = asked.removeprefix("https://github.com/").strip("/")
    return f"{ADDRESS}/import/github/{path}" if path else ADDRESS


def _status(workspace: Workspace) -> Status:
    if workspace.status in ("stopping", "stopped"):
        return "stopped"
    return "running" if workspace.resources.get("project_url") else "pending"
