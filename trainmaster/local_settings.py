"""The settings that decide what is answered on this machine: of prices, the policy and templates.

Reading all of them takes pydantic-settings, and longer than such a command may take as a whole.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Self
from uuid import UUID

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from trainmaster.budget.budgets import TEAM_PATTERN

PREFIX = "TRAINMASTER_"
_DEPLOYMENTS = Path(__file__).parents[1] / "deployments"


class LocalSettings(BaseModel):
    """Those of `Settings` that a command needs which asks nobody: their names, bounds and defaults are said here alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    region: Annotated[
        str, Field(validation_alias=AliasChoices("TRAINMASTER_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"))
    ] = "us-east-1"
    user_id: Annotated[
        UUID | None, Field(description="Whose datasets they are, and whose budget pays, where a request does not say.")
    ] = None
    team: Annotated[
        str,
        Field(pattern=rf"^({TEAM_PATTERN})?$", description="Whose budget pays as well where a request does not say."),
    ] = ""
    prices_file: Annotated[
        Path | None,
        Field(
            description="What `trainmaster prices refresh` writes and every process reads; in the state folder without it."
        ),
    ] = None
    workspace_templates: Annotated[
        Path, Field(description="The folder of the templates that workspaces are opened from.")
    ] = _DEPLOYMENTS / "workspaces"
    policy_file: Annotated[
        Path | None,
        Field(description="What says who may open, train and serve what; deployments/policy.yaml without it."),
    ] = None
    state_dir: Annotated[Path, Field(description="Where the embedded services keep their state.")] = Path(
        ".trainmaster"
    )

    @classmethod
    def of_environment(cls) -> Self:
        """As `Settings` reads them: by any case of a name, an empty one as if unset. Raises pydantic's ValidationError."""
        given = {name.upper(): value for name, value in os.environ.items() if value}
        ours = {name.removeprefix(PREFIX).lower(): value for name, value in given.items() if name.startswith(PREFIX)}
        return cls.model_validate(ours | given)

    @property
    def refreshed_prices(self) -> Path:
        """The file of prices that AWS was asked for; it need not be there."""
        return self.prices_file or self.state_dir / "prices.csv"
