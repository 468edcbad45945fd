"""What a user asks for when deploying and removing."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from trainmaster.budget.budgets import TEAM_PATTERN, Payer
from trainmaster.budget.choices import instance_choices, instance_label, instance_of, known_types
from trainmaster.budget.money import Dollars
from trainmaster.budget.prices import shipped_prices
from trainmaster.form import WhenFilledIn, Words, as_form
from trainmaster.storage.address import S3Uri
from trainmaster.training.limits import tag_problems

SMALLEST_LINEAR_STEP = 10
"""Percent of a variant's instances, by AWS's rule."""
LONGEST_WAITING = 28_800 - 3_600
"""Seconds of a rollout: what AWS gives it at most, less what starting and stopping instances may take."""
OURS = "trainmaster:"
"""What our own tags begin with."""
UUID_PATTERN = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
EndpointName = Annotated[
    str,
    Field(
        title="Endpoint name",
        description="Letters, digits and single hyphens; at most 50 characters.",
        pattern=r"^[a-zA-Z0-9](-?[a-zA-Z0-9])*$",
        max_length=50,
    ),
]


GroupName = Annotated[
    str,
    Field(
        title="Model group",
        description="The registry's group of a model's versions.",
        pattern=r"^([a-zA-Z0-9](-?[a-zA-Z0-9]){0,62})?$",
    ),
]


PayingUser = Annotated[
    str,
    Field(
        title="User",
        description="Whose budget pays its hours (a UUID); empty for TRAINMASTER_USER_ID.",
        pattern=rf"^({UUID_PATTERN})?$",
    ),
]
PayingTeam = Annotated[
    str,
    Field(
        title="Team",
        description="Whose budget pays as well; empty for TRAINMASTER_TEAM.",
        pattern=rf"^({TEAM_PATTERN})?$",
    ),
]


MOST_AN_HOUR = 100_000
HourlyLimit = Annotated[
    Dollars,
    Field(
        title="Hourly cost limit (USD)",
        description="An endpoint is billed until it is removed; a dearer one is refused.",
        gt=0,
        le=MOST_AN_HOUR,
        decimal_places=2,
    ),
]


def _settable(tags: dict[str, str]) -> dict[str, str]:
    wrong = [problem.sentence() for problem in tag_problems(tags)]
    wrong += [f"Tag {key} begins with {OURS}, which is Trainmaster's." for key in tags if key.lower().startswith(OURS)]
    if wrong:
        raise ValueError(" ".join(wrong).rstrip("."))
    return tags


class Choices(BaseModel):
    """Strict, and the same for good once made."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), json_schema_extra=as_form())


class Serverless(Choices):
    """Capacity that is paid by use instead of instances."""

    memory_mb: Annotated[
        Literal[1024, 2048, 3072, 4096, 5120, 6144],
        Field(title="Memory (MB)", description="Of each request's container."),
    ] = 2048
    max_concurrency: Annotated[
        int,
        Field(
            title="Requests at once",
            description="More are answered 429; its cost an hour is at most this many.",
            ge=1,
            le=200,
        ),
    ] = 5


class Scaling(Choices):
    """Instances that follow the traffic."""

    min_instances: Annotated[int, Field(title="At least", description="Instances that always serve.", ge=1, le=20)] = 1
    max_instances: Annotated[
        int, Field(title="At most", description="Instances; what they cost is reserved.", ge=1, le=20)
    ] = 2
    target_invocations: Annotated[
        int,
        Field(
            title="Invocations per instance and minute",
            description="More, and an instance is added.",
            ge=1,
            le=1_000_000,
        ),
    ] = 1000

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_instances > self.max_instances:
            raise ValueError(
                f"min_instances is {self.min_instances}, which is more than max_instances, {self.max_instances}"
            )
        return self


class Rollout(Choices):
    """How traffic moves to a new version. Alarms that go off while it does bring it back."""

    kind: Annotated[
        Literal["all-at-once", "canary", "linear"],
        Field(title="Traffic", description="At once, a share first and then the rest, or by equal steps."),
    ] = "all-at-once"
    step_percent: Annotated[
        int, Field(title="Step (%)", description="The canary's share, or each step's.", ge=5, le=50)
    ] = 10
    wait_seconds: Annotated[
        int, Field(title="Bake (s)", description="After each step, while alarms are watched.", ge=0, le=3600)
    ] = 0
    keep_old_seconds: Annotated[
        int,
        Field(
            title="Keep the old (s)",
            description="How long the old instances stand by, and are paid, when all is moved.",
            ge=0,
            le=3600,
        ),
    ] = 0
    max_error_percent: Annotated[
        float | None,
        Field(
            title="Most errors (%)",
            description="Of invocations, by the model or 5xx; more brings the old version back.",
            gt=0,
            le=100,
        ),
    ] = None
    max_latency_ms: Annotated[
        int | None,
        Field(
            title="Longest latency (ms)",
            description="Of the model, p95 over a minute; more brings the old version back.",
            ge=1,
            le=60_000,
        ),
    ] = None

    rehearse: Annotated[
        bool,
        Field(
            title="Rehearse",
            description="Try a new version on an endpoint of its own first, which is paid while it stands: a bad one then never answers anybody.",
        ),
    ] = True

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.kind == "linear" and self.step_percent < SMALLEST_LINEAR_STEP:
            raise ValueError(
                f"step_percent is {self.step_percent}; AWS's linear steps are of {SMALLEST_LINEAR_STEP} to 50 %"
            )
        if self.waiting_seconds() > LONGEST_WAITING:
            raise ValueError(
                f"the rollout would wait for {self.waiting_seconds():,} s in all; AWS ends one after 28,800 s, of which at most"
                f" {LONGEST_WAITING:,} may be waits: take larger steps or wait_seconds of less than {self.wait_seconds}"
            )
        return self

    def waiting_seconds(self) -> int:
        """For how long it waits in all, between its steps and before the old instances go."""
        bakes = {"all-at-once": 1, "canary": 1, "linear": -(-100 // self.step_percent)}[self.kind]
        return bakes * self.wait_seconds + self.keep_old_seconds


class Lifetime(Choices):
    """When an endpoint is no longer wanted, and what happens to it then."""

    hours: Annotated[
        float | None, Field(title="Hours to live", description="Since it was last deployed.", gt=0, le=24 * 366)
    ] = None
    idle_minutes: Annotated[
        int | None, Field(title="Idle (minutes)", description="Without an invocation.", ge=5, le=60 * 24 * 31)
    ] = None
    when_over: Annotated[
        Literal["warn", "scale-down", "remove"],
        Field(
            title="Then",
            description="Only tell; scale to one instance; or remove it, keeping all that brings it back. Out of budget counts as well.",
        ),
    ] = "warn"


class Shadow(Choices):
    """A candidate that gets a copy of the traffic; its answers are only recorded."""

    model_uri: Annotated[S3Uri, Field(title="Model", description="The candidate's model.tar.gz in S3.")]
    sampling_percent: Annotated[int, Field(title="Copied (%)", description="Of the requests.", ge=1, le=100)] = 100


class Challenger(Choices):
    """A second version that answers a share of the traffic (A/B)."""

    model_uri: Annotated[S3Uri, Field(title="Model", description="The other version's model.tar.gz in S3.")]
    traffic_percent: Annotated[int, Field(title="Share (%)", description="Of the requests.", ge=1, le=99)] = 10


_DEFAULT_TYPE = "ml.m5.large"


def _instance_types(schema: dict[str, Any]) -> None:
    del schema["pattern"]  # plain names have it, labels do not
    schema["enum"] = instance_choices("hosting", known_types("hosting"))
    schema["default"] = instance_label(_DEFAULT_TYPE, "hosting", shipped_prices())
    schema["description"] = "What serves, cheapest first: the price is that of an hour of one in us-east-1."


class EndpointChoices(Choices):
    """What to serve on: the same for every way of deploying."""

    endpoint_name: EndpointName = "house-prices"
    instance_type: Annotated[
        str,
        Field(
            title="Instance type",
            description="SageMaker hosting instance; those with a known price, cheapest first.",
            pattern=r"^ml\.\S+$",
            json_schema_extra=_instance_types,
        ),
        BeforeValidator(instance_of),
    ] = _DEFAULT_TYPE
    instance_count: Annotated[int, Field(title="Instances", description="How many serve.", ge=1, le=20)] = 1
    max_hourly_cost: HourlyLimit = Decimal("0.50")
    user_id: PayingUser = ""
    team: PayingTeam = ""
    serverless: Annotated[
        Serverless | None,
        Field(
            title="Serverless",
            description="Paid by use; instance type and count are then of no account.",
        ),
        WhenFilledIn(),
    ] = None
    scaling: Annotated[
        Scaling | None,
        Field(title="Autoscaling", description="A number of instances that follows traffic."),
        WhenFilledIn(),
    ] = None
    capture_percent: Annotated[
        int, Field(title="Captured (%)", description="Of requests and answers, to S3, for check-drift.", ge=0, le=100)
    ] = 0
    rollout: Annotated[Rollout, Field(title="Taking over", description="How traffic moves to a new version.")] = (
        Rollout()
    )
    lifetime: Annotated[
        Lifetime, Field(title="Until when", description="When nobody wants it any more, and what happens then.")
    ] = Lifetime()
    keep_versions: Annotated[
        int, Field(title="Kept versions", description="Earlier proven ones that can be rolled back to.", ge=1, le=20)
    ] = 3
    force: Annotated[bool, Field(title="Force", description="Deploy again what has just failed here.")] = False
    data_classification: Annotated[
        str,
        Field(
            title="Data classification",
            description="Of what the model was trained on, as the policy names them: such as public or confidential.",
            pattern=r"^[a-z0-9-]{0,60}$",
        ),
    ] = ""
    tags: Annotated[
        dict[str, str],
        Field(
            title="Tags",
            description="Of all AWS makes for it, besides Trainmaster's.",
            max_length=30,
        ),
        Words(),
        AfterValidator(_settable),
    ] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.serverless and self.scaling:
            raise ValueError("serverless and scaling exclude each other: AWS scales what is serverless by itself")
        if self.serverless and self.capture_percent:
            raise ValueError("AWS captures nothing of what is serverless: leave capture_percent or serverless out")
        if self.serverless and self.rollout != Rollout(rehearse=self.rollout.rehearse):
            raise ValueError("AWS moves all traffic of what is serverless at once, without alarms: leave rollout out")
        return self

    def paid_like(self, user_id: str, team: str) -> Self:
        """The same with those who pay for something else, where it names nobody."""
        return self.model_copy(update={"user_id": self.user_id or user_id, "team": self.team or team})

    def told_like(self, data_classification: str, tags: Mapping[str, str]) -> Self:
        """The same with what was said of something else, where it does not say it itself. Raises pydantic's ValidationError."""
        classified = self.data_classification or data_classification
        told = {**self.model_dump(), "data_classification": classified, "tags": {**tags, **self.tags}}
        return type(self).model_validate(told)

    def payer(self, otherwise: Payer) -> Payer:
        """Who pays its hours: those it names, else `otherwise`."""
        return Payer(UUID(self.user_id) if self.user_id else otherwise.user_id, self.team or otherwise.team)


_FORM = (
    "model_uri", "model_group", "model_version", "endpoint_name", "instance_type", "instance_count", "max_hourly_cost", "dry_run",
    "rollout", "lifetime", "scaling", "serverless", "challenger", "shadow", "capture_percent", "keep_versions", "force",
)  # fmt: skip
"""What people are asked first: what is served, on what, for how much; who pays and what it is called by at the end."""


class EndpointRequest(EndpointChoices):
    """One deployment of a trained model: an artifact, or a version of the registry."""

    model_config = ConfigDict(json_schema_extra=as_form(*_FORM))

    model_uri: Annotated[
        S3Uri | Literal[""],
        Field(title="Model", description="The model.tar.gz a training job left in S3; empty with a model group."),
    ] = ""
    model_group: GroupName = ""
    model_version: Annotated[
        int | None, Field(title="Version", description="Of the model group; its latest approved one when empty.", ge=1)
    ] = None
    challenger: Annotated[
        Challenger | None,
        Field(title="Challenger", description="A second version for a share of the traffic."),
        WhenFilledIn(),
    ] = None
    shadow: Annotated[
        Shadow | None,
        Field(title="Shadow", description="A candidate that is only listened to."),
        WhenFilledIn(),
    ] = None
    dry_run: Annotated[
        bool, Field(title="Dry run", description="Only say what would be done, and what it costs an hour.")
    ] = False

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if bool(self.model_uri) == bool(self.model_group):
            raise ValueError("give either model_uri or model_group")
        if self.model_version is not None and not self.model_group:
            raise ValueError("model_version needs a model_group")
        if self.shadow and (self.challenger or self.serverless):
            raise ValueError("AWS shadows a single variant on instances: leave challenger and serverless out")
        if self.challenger and self.serverless:
            raise ValueError("AWS serves a single variant where it is serverless: leave challenger or serverless out")
        return self


class RemovalRequest(BaseModel):
    """Which endpoint to remove, with its configurations and models. Artifacts in S3 stay."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form())

    endpoint_name: EndpointName
    dry_run: Annotated[bool, Field(title="Dry run", description="Only say what would be removed.")] = True


class RollbackRequest(BaseModel):
    """Which endpoint goes back to a version that has proven itself before."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form())

    endpoint_name: EndpointName
    config_name: Annotated[
        str,
        Field(
            title="Version",
            description="Its endpoint configuration; the last proven one before what serves now when empty.",
            pattern=r"^([a-zA-Z0-9](-?[a-zA-Z0-9]){0,62})?$",
        ),
    ] = ""
    user_id: PayingUser = ""
    team: PayingTeam = ""
    max_hourly_cost: Annotated[
        HourlyLimit, Field(description="A version that costs more is refused, unless what serves now costs as much.")
    ] = Decimal("0.50")
    dry_run: Annotated[bool, Field(title="Dry run", description="Only say what would be done.")] = False

    def payer(self, otherwise: Payer) -> Payer:
        """Who pays its hours: those it names, else `otherwise`."""
        return Payer(UUID(self.user_id) if self.user_id else otherwise.user_id, self.team or otherwise.team)
