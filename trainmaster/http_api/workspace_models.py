"""What is asked and answered about workspaces over HTTP. Money is text, to the millionth of a dollar."""

from __future__ import annotations

import shlex
from datetime import datetime
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.budget.money import MICRO
from trainmaster.http_api.callers import Caller
from trainmaster.http_api.run_models import RunAnswer
from trainmaster.workspaces.kinds import Access, Step
from trainmaster.workspaces.opening import PlannedWorkspace
from trainmaster.workspaces.request import OpenWorkspaceRequest, WorkspaceName
from trainmaster.workspaces.standing import WorkspaceStanding
from trainmaster.workspaces.templates.template import Template
from trainmaster.workspaces.workspace import ConnectionType, ServiceType, Status, Workspace

_RUN: dict[str, Any] = {
    "id": "4f0d8f0a-3c3e-4f5e-8b52-0c6f6a1d2b11",
    "name": "open notes",
    "state": "Running",
    "message": "",
    "ended": False,
    "url": "https://prefect.example.com/runs/flow-run/4f0d8f0a-3c3e-4f5e-8b52-0c6f6a1d2b11",
}
_WORKSPACE: dict[str, Any] = {
    "id": "0b8a4a52-6f0c-5b53-9a2e-3d0b7a1c9e11",
    "name": "notes",
    "template": "sagemaker-studio",
    "service_type": "sagemaker_studio",
    "connection_type": "web",
    "region": "us-east-1",
    "status": "running",
    "detail": "",
    "instance_type": "ml.t3.medium",
    "volume_gb": 10,
    "hourly_cost": "0.05",
    "storage_hourly_cost": "0.0014",
    "hourly_cost_now": "0.0514",
    "auto_stop_minutes": 120,
    "keep_until": None,
    "created_at": "2026-11-22T03:40:00Z",
    "since": "2026-11-22T03:42:00Z",
    "used_at": "2026-11-22T03:55:00Z",
    "idle_seconds": 60,
    "budget_left": "49.95",
    "tags": {"project": "cats"},
}
Money = Annotated[str, Field(description="US dollars, such as 0.0514.")]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OpenForm(_Asked):
    """One workspace of a template; the same again finds it, and starts it when it is stopped."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"template": "sagemaker-studio", "name": "notes"},
                {
                    "template": "python-ml",
                    "name": "box",
                    "instance_type": "t3.large",
                    "max_hourly_cost": "0.50",
                    "tags": {"project": "cats"},
                },
            ]
        },
    )

    template: Annotated[
        str,
        Field(
            description="Its name; GET /api/workspaces/templates lists them.",
            pattern=r"^[a-z0-9](-?[a-z0-9])*$",
            max_length=60,
        ),
    ]
    name: WorkspaceName
    instance_type: Annotated[
        str,
        Field(
            description="One the template allows; its default when empty.",
            pattern=r"^([!-~]+\.[!-~]+)?$",
            max_length=60,
        ),
    ] = ""
    volume_gb: Annotated[int | None, Field(description="The template's without it.", ge=5, le=16_384)] = None
    max_hourly_cost: Annotated[
        Decimal | None,
        Field(
            description="US dollars; a dearer one is refused, and the template's limit holds as well.",
            gt=0,
            le=100_000,
            decimal_places=2,
        ),
    ] = None
    auto_stop_minutes: Annotated[
        int | None,
        Field(description="Stopped after so long without use; the template's without it.", ge=60, le=525_600),
    ] = None
    keep_until: Annotated[
        datetime | None, Field(description="Not stopped as idle before, as far as the policy lets it.")
    ] = None
    data_classification: Annotated[
        str, Field(description="Of what is worked on, as the policy names them.", pattern=r"^[a-z0-9-]{0,60}$")
    ] = ""
    address: Annotated[
        str,
        Field(
            description="The one IPv4 address that may reach it, of a template with direct access.",
            pattern=r"^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3})?$",
        ),
    ] = ""
    tags: Annotated[dict[str, str], Field(description="On all AWS makes for it.", max_length=30)] = Field(
        default_factory=dict
    )
    dry_run: Annotated[
        bool, Field(description="Only say what would be made, what it costs, and what is against it.")
    ] = False

    def request(self, caller: Caller) -> OpenWorkspaceRequest:
        """The same, by who asks."""
        asked = self.model_dump(exclude={"dry_run"}, exclude_none=True)
        return OpenWorkspaceRequest.model_validate({**asked, "user_id": str(caller.user_id), "team": caller.team})


class StartForm(_Asked):
    """How a workspace that is there goes on."""

    instance_type: Annotated[
        str,
        Field(
            description="Another the template allows; as before when empty.",
            pattern=r"^([!-~]+\.[!-~]+)?$",
            max_length=60,
            examples=["ml.g5.xlarge"],
        ),
    ] = ""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class WorkspaceAnswer(_Answer):
    """A workspace of the caller's, as its service says it stands. Nothing in it lets anybody in."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_WORKSPACE]})

    id: UUID
    name: str
    template: str
    service_type: ServiceType
    connection_type: ConnectionType
    region: str
    status: Status
    detail: Annotated[str, Field(description="Why it failed or differs from what was asked; empty when all is well.")]
    instance_type: str
    volume_gb: int
    hourly_cost: Annotated[Money, Field(description="US dollars an hour while it runs, besides its files.")]
    storage_hourly_cost: Annotated[Money, Field(description="US dollars an hour for its files, stopped or not.")]
    hourly_cost_now: Annotated[Money, Field(description="US dollars an hour as it stands.")]
    auto_stop_minutes: int | None
    keep_until: datetime | None
    created_at: datetime
    since: Annotated[datetime | None, Field(description="When its status began, where its service tells.")]
    used_at: datetime | None
    idle_seconds: Annotated[int | None, Field(description="Without use, while it runs; null where nobody can say.")]
    budget_left: Annotated[str | None, Field(description="US dollars, of the tightest budget; null without a limit.")]
    tags: dict[str, str]

    @classmethod
    def of(cls, standing: WorkspaceStanding) -> WorkspaceAnswer:
        row, seen, idle = standing.workspace, standing.seen, standing.idle_for
        return cls(
            **_of_row(row),
            status=seen.status,
            detail="; ".join(filter(None, (seen.detail, *seen.drift))),
            hourly_cost_now=_dollars(standing.hourly),
            since=seen.since,
            used_at=standing.used_at,
            idle_seconds=None if idle is None else int(idle.total_seconds()),
            budget_left=None if standing.left is None else _dollars(standing.left, ROUND_DOWN),
        )

    @classmethod
    def planned(cls, plan: PlannedWorkspace) -> WorkspaceAnswer:
        """As it would be; its costs are those of an hour while it runs."""
        row = plan.workspace
        left = [one.left for one in plan.standings if one.left is not None]
        return cls(
            **_of_row(row),
            status=row.status,
            detail="",
            hourly_cost_now=_dollars(row.hourly_cost + row.storage_hourly_cost),
            since=None,
            used_at=row.used_at,
            idle_seconds=None,
            budget_left=_dollars(min(left), ROUND_DOWN) if left else None,
        )


class FoundAnswer(_Answer):
    """A workspace, and the run that was started about it last. Until that run has begun there may be no workspace yet."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [{"workspace": _WORKSPACE, "run": _RUN}]})

    workspace: WorkspaceAnswer | None
    run: Annotated[RunAnswer | None, Field(description="Null where there was none, or Prefect does not answer.")]


class WorkspacesAnswer(_Answer):
    """The caller's workspaces, by name."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [{"workspaces": [_WORKSPACE]}]})

    workspaces: list[WorkspaceAnswer]


class ChangeAnswer(_Answer):
    """What is done with a workspace by a run, or with `run` null what would be, or that there is nothing to do."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "workspace": {**_WORKSPACE, "status": "stopped"},
                    "steps": ["create app default"],
                    "violations": [],
                    "over_budget": "",
                    "run": _RUN,
                }
            ]
        },
    )

    workspace: WorkspaceAnswer
    steps: Annotated[list[str], Field(description="What it takes, in order; none when it is as asked already.")]
    violations: Annotated[list[str], Field(description="Of a dry run: what the policy has against it.")] = []
    over_budget: Annotated[str, Field(description="Of a dry run: what a budget lacks for its first hours.")] = ""
    run: RunAnswer | None

    @classmethod
    def of_plan(cls, plan: PlannedWorkspace, run: RunAnswer | None) -> ChangeAnswer:
        return cls(
            workspace=WorkspaceAnswer.planned(plan),
            steps=_said(plan.steps),
            violations=list(plan.violations),
            over_budget=plan.over_budget,
            run=run,
        )

    @classmethod
    def closing(cls, standing: WorkspaceStanding, steps: tuple[Step, ...], run: RunAnswer | None) -> ChangeAnswer:
        return cls(workspace=WorkspaceAnswer.of(standing), steps=_said(steps), run=run)


class AccessAnswer(_Answer):
    """How to get in: an address, a command, or both. The address may let anybody in for as long as it holds."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "url": "https://d-abc.studio.us-east-1.sagemaker.aws/auth?token=…",
                    "command": [],
                    "command_line": "",
                    "secret": True,
                    "note": "",
                }
            ]
        },
    )

    url: Annotated[str, Field(description="To open in a browser; empty where a command leads in.", repr=False)]
    command: list[str]
    command_line: Annotated[str, Field(description="The same, to be pasted into a shell.")]
    secret: Annotated[bool, Field(description="Whether the address lets anybody in: never keep or log it.")]
    note: str

    @classmethod
    def of(cls, access: Access) -> AccessAnswer:
        return cls(
            url=access.url,
            command=list(access.command),
            command_line=shlex.join(access.command),
            secret=access.secret,
            note=access.note,
        )


class TemplateAnswer(_Answer):
    """What a workspace can be opened from."""

    name: str
    description: str
    service_type: ServiceType
    connection_type: ConnectionType
    default_instance_type: Annotated[str, Field(description="Empty where the service has none to choose.")]
    allowed_instance_types: Annotated[
        list[str], Field(description="Globs, such as ml.t3.*; the default alone if none.")
    ]
    volume_gb: int | None
    auto_stop_minutes: int | None
    max_hourly_cost: str | None
    hourly_cost: Annotated[str | None, Field(description="US dollars while it runs; null where nobody knows.")]
    data_classification: str
    has_image: Annotated[bool, Field(description="Whether it starts from an image of ours, made by compile-image.")]

    @classmethod
    def of(cls, template: Template, hourly: Decimal | None) -> TemplateAnswer:
        config = template.service_config
        most = config.max_hourly_cost
        return cls(
            name=template.name,
            description=template.description,
            service_type=template.service_type,
            connection_type=template.connection_type,
            default_instance_type=config.default_instance_type,
            allowed_instance_types=list(config.allowed_instance_types),
            volume_gb=config.volume_gb if config.default_instance_type else None,
            auto_stop_minutes=config.auto_stop_minutes,
            max_hourly_cost=None if most is None else f"{most:f}",
            hourly_cost=None if hourly is None else _dollars(hourly),
            data_classification=template.policy.data_classification,
            has_image=template.is_compiled,
        )


class TemplatesAnswer(_Answer):
    """All templates that can be used, by name."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "templates": [
                        {
                            "name": "sagemaker-studio",
                            "description": "JupyterLab in SageMaker Studio",
                            "service_type": "sagemaker_studio",
                            "connection_type": "web",
                            "default_instance_type": "ml.t3.medium",
                            "allowed_instance_types": ["ml.t3.*"],
                            "volume_gb": 10,
                            "auto_stop_minutes": 120,
                            "max_hourly_cost": "2.00",
                            "hourly_cost": "0.0514",
                            "data_classification": "internal",
                            "has_image": False,
                        }
                    ]
                }
            ]
        },
    )

    templates: list[TemplateAnswer]


def _dollars(amount: Decimal, rounding: str = ROUND_HALF_UP) -> str:
    to_millionths = amount.quantize(MICRO, rounding)
    return f"{amount if amount == to_millionths else to_millionths:f}"


def _of_row(row: Workspace) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "template": row.template,
        "service_type": row.service_type,
        "connection_type": row.connection_type,
        "region": row.region,
        "instance_type": row.instance_type,
        "volume_gb": row.volume_gb,
        "hourly_cost": _dollars(row.hourly_cost),
        "storage_hourly_cost": _dollars(row.storage_hourly_cost),
        "auto_stop_minutes": row.auto_stop_minutes,
        "keep_until": row.keep_until,
        "created_at": row.created_at,
        "tags": dict(row.spec.get("tags", {})),
    }


def _said(steps: tuple[Step, ...]) -> list[str]:
    return [step.sentence() for step in steps]
