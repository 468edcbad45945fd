"""What a user asks for when opening and closing a workspace."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from trainmaster.budget.budgets import TEAM_PATTERN, Payer
from trainmaster.budget.choices import instance_of
from trainmaster.budget.money import Dollars
from trainmaster.form import Words, YesOrNo, as_form
from trainmaster.workspaces.templates.choices import instances_of_templates, templates_there_are

UUID_PATTERN = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
WorkspaceName = Annotated[
    str,
    Field(
        title="Workspace name",
        description="Lower-case letters, digits and single hyphens; at most 40 characters. Yours alone.",
        pattern=r"^[a-z0-9](-?[a-z0-9])*$",
        max_length=40,
    ),
]
Owner = Annotated[
    str,
    Field(
        title="User",
        description="Whose workspace it is, and whose budget pays (a UUID); empty for TRAINMASTER_USER_ID.",
        pattern=rf"^({UUID_PATTERN})?$",
    ),
]


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form())

    def owner(self, otherwise: UUID | None) -> UUID | None:
        """The user it names, else `otherwise`."""
        return UUID(self.user_id) if self.user_id else otherwise  # type: ignore[attr-defined]


class OpenWorkspaceRequest(_Request):
    """One workspace of a template; the same again finds it, and starts it when it is stopped."""

    template: Annotated[
        str,
        Field(
            title="Template",
            description="Such as python-ml or sagemaker-studio; `trainmaster templates` lists them.",
            pattern=r"^[a-z0-9](-?[a-z0-9])*$",
            max_length=60,
            json_schema_extra=templates_there_are,
        ),
    ]
    name: WorkspaceName
    instance_type: Annotated[
        str,
        Field(
            title="Instance type",
            description="One the template allows; its default when empty.",
            pattern=r"^(\S+\.\S+)?$",
            max_length=60,
            json_schema_extra=instances_of_templates,
        ),
        BeforeValidator(instance_of),
    ] = ""
    volume_gb: Annotated[
        int | None, Field(title="Volume (GB)", description="The template's when empty.", ge=5, le=16_384)
    ] = None
    max_hourly_cost: Annotated[
        Dollars | None,
        Field(
            title="Hourly cost limit (USD)",
            description="A dearer one is refused; the template's limit holds as well.",
            gt=0,
            le=100_000,
            decimal_places=2,
        ),
    ] = None
    auto_stop_minutes: Annotated[
        int | None,
        Field(
            title="Stop when idle (minutes)",
            description="The template's when empty; the policy may ask for one.",
            ge=60,
            le=525_600,
        ),
    ] = None
    keep_until: Annotated[
        datetime | None,
        Field(title="Keep until", description="Not stopped as idle before, as far as the policy lets it."),
    ] = None
    data_classification: Annotated[
        str,
        Field(
            title="Data classification",
            description="Of what is worked on, as the policy names them: such as public or confidential.",
            pattern=r"^[a-z0-9-]{0,60}$",
        ),
    ] = ""
    address: Annotated[
        str,
        Field(
            title="Your address",
            description="The one IPv4 address that may reach it, of a template with direct access; `curl"
            " https://checkip.amazonaws.com` shows yours.",
            pattern=r"^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3})?$",
        ),
    ] = ""
    tags: Annotated[
        dict[str, str],
        Field(
            title="Tags",
            description="On all AWS makes for it, besides ours.",
            max_length=30,
        ),
        Words(),
    ] = Field(default_factory=dict)
    user_id: Owner = ""
    team: Annotated[
        str,
        Field(
            title="Team",
            description="Whose budget pays as well, and whose policy holds; empty for TRAINMASTER_TEAM.",
            pattern=rf"^({TEAM_PATTERN})?$",
        ),
    ] = ""
    dry_run: Annotated[
        bool, Field(title="Dry run", description="Only say what would be made, and what it costs an hour.")
    ] = False

    def payer(self, otherwise: Payer) -> Payer:
        """Who pays: those it names, else `otherwise`."""
        return Payer(self.owner(otherwise.user_id), self.team or otherwise.team)


class CloseWorkspaceRequest(_Request):
    """Which workspace is stopped, or deleted with all that is in it."""

    name: WorkspaceName
    action: Annotated[
        Literal["stop", "delete"],
        Field(
            title="Close by",
            description="Stopping keeps its files, which cost little; deleting removes them for good.",
        ),
    ] = "stop"
    user_id: Owner = ""
    dry_run: Annotated[
        bool | None,
        Field(
            title="Dry run",
            description="Only say what would be done. Left out, it is on for a deletion and off for a stop.",
        ),
        YesOrNo(),
    ] = None

    @property
    def only_says(self) -> bool:
        """Whether nothing is done."""
        return self.action == "delete" if self.dry_run is None else self.dry_run
