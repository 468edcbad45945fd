"""What a user asks for when deploying and removing."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from trainmaster.budget.budgets import TEAM_PATTERN, Payer
from trainmaster.budget.money import Dollars
from trainmaster.budget.prices import shipped_prices
from trainmaster.storage.address import S3Uri

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


class EndpointChoices(BaseModel):
    """What to serve on: the same for every way of deploying."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    endpoint_name: EndpointName = "house-prices"
    instance_type: Annotated[
        str,
        Field(
            title="Instance type",
            description="SageMaker hosting instance; those with a known price, cheapest first.",
            pattern=r"^ml\.\S+$",
            json_schema_extra={"enum": list[JsonValue](shipped_prices().instance_types("hosting", "us-east-1"))},
        ),
    ] = "ml.m5.large"
    instance_count: Annotated[int, Field(title="Instances", description="How many serve.", ge=1, le=20)] = 1
    max_hourly_cost: Annotated[
        Dollars,
        Field(
            title="Hourly cost limit (USD)",
            description="An endpoint is billed until it is removed; a dearer one is refused.",
            gt=0,
            le=100_000,
            decimal_places=2,
        ),
    ] = Decimal("0.50")
    user_id: Annotated[
        str,
        Field(
            title="User",
            description="Whose budget pays its hours (a UUID); empty for TRAINMASTER_USER_ID.",
            pattern=rf"^({UUID_PATTERN})?$",
        ),
    ] = ""
    team: Annotated[
        str,
        Field(
            title="Team",
            description="Whose budget pays as well; empty for TRAINMASTER_TEAM.",
            pattern=rf"^({TEAM_PATTERN})?$",
        ),
    ] = ""

    def paid_like(self, user_id: str, team: str) -> Self:
        """The same with those who pay for something else, where it names nobody."""
        return self.model_copy(update={"user_id": self.user_id or user_id, "team": self.team or team})

    def payer(self, otherwise: Payer) -> Payer:
        """Who pays its hours: those it names, else `otherwise`."""
        return Payer(UUID(self.user_id) if self.user_id else otherwise.user_id, self.team or otherwise.team)


class EndpointRequest(EndpointChoices):
    """One deployment of a trained model."""

    model_uri: Annotated[S3Uri, Field(title="Model", description="The model.tar.gz a training job left in S3.")]


class RemovalRequest(BaseModel):
    """Which endpoint to remove, with its configurations and models. Artifacts in S3 stay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint_name: EndpointName
    dry_run: Annotated[bool, Field(title="Dry run", description="Only say what would be removed.")] = True
