"""What a workspace was opened as: its template with the request laid over it, as its row keeps it. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainmaster.budget.money import Dollars
from trainmaster.workspaces.templates.template import Part, Template
from trainmaster.workspaces.workspace import Workspace


class Spec(Part):
    """All that starting it again takes, though its template may have changed or gone since."""

    template: Template
    tags: dict[str, str] = Field(default_factory=dict)
    data_classification: str = ""
    max_hourly_cost: Dollars | None = None
    address: Annotated[str, Field(description="The one that reaches it, where its template opens a port.")] = ""


def spec_of(workspace: Workspace) -> Spec:
    """Raises pydantic's ValidationError for a row that is not ours."""
    return Spec.model_validate(workspace.spec)
