"""What a user asks for when an image is to be made of a template."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.budget.budgets import TEAM_PATTERN, Payer
from trainmaster.form import as_form
from trainmaster.workspaces.request import UUID_PATTERN
from trainmaster.workspaces.templates.choices import templates_with_an_image
from trainmaster.workspaces.templates.template import LONGEST_NAME, NAME_PATTERN


class CompileImageRequest(BaseModel):
    """The image of one template. Where there is one of the same already, nothing is done."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form())

    template: Annotated[
        str,
        Field(
            title="Template",
            description="One with an image, such as custom-pytorch; `trainmaster templates` lists them.",
            pattern=NAME_PATTERN,
            max_length=LONGEST_NAME,
            json_schema_extra=templates_with_an_image,
        ),
    ]
    user_id: Annotated[
        str,
        Field(
            title="User",
            description="Whose budget pays for the build (a UUID); empty for TRAINMASTER_USER_ID.",
            pattern=rf"^({UUID_PATTERN})?$",
        ),
    ] = ""
    team: Annotated[
        str,
        Field(
            title="Team",
            description="Whose budget pays for the build as well; empty for TRAINMASTER_TEAM.",
            pattern=rf"^({TEAM_PATTERN})?$",
        ),
    ] = ""
    dry_run: Annotated[
        bool, Field(title="Dry run", description="Only say what would be made, and what it costs at most.")
    ] = False

    def payer(self, otherwise: Payer) -> Payer:
        """Who pays: those it names, else `otherwise`."""
        user_id = UUID(self.user_id) if self.user_id else otherwise.user_id
        return Payer(user_id, self.team or otherwise.team)
