"""What a user asks for when deploying and removing."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from trainmaster.budget.money import Dollars
from trainmaster.budget.prices import shipped_prices
from trainmaster.storage.address import S3Uri

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


class EndpointRequest(EndpointChoices):
    """One deployment of a trained model."""

    model_uri: Annotated[S3Uri, Field(title="Model", description="The model.tar.gz a training job left in S3.")]


class RemovalRequest(BaseModel):
    """Which endpoint to remove, with its configurations and models. Artifacts in S3 stay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint_name: EndpointName
    dry_run: Annotated[bool, Field(title="Dry run", description="Only say what would be removed.")] = True
