"""What a user asks for when publishing an endpoint as an API, and when withdrawing it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainmaster.endpoints.request import Choices, EndpointName

DryRun = Annotated[bool, Field(title="Dry run", description="Only say what would be done.")]


class PublishRequest(Choices):
    """An endpoint in service, and how much of it the world may use."""

    endpoint_name: EndpointName = "house-prices"
    allowed_origin: Annotated[
        str,
        Field(
            title="Web pages",
            description="Whose pages may ask from a browser: https://…, or * for any. An API key is wanted all the same.",
            pattern=r"^(\*|https?://[A-Za-z0-9.-]+(:\d{1,5})?)$",
        ),
    ] = "*"
    requests_per_second: Annotated[
        int, Field(title="Requests a second", description="More are answered 429.", ge=1, le=10_000)
    ] = 20
    burst: Annotated[int, Field(title="Burst", description="Requests that may come at one moment.", ge=1, le=5_000)] = (
        40
    )
    requests_per_day: Annotated[
        int,
        Field(
            title="Requests a day",
            description="Of one API key; bounds what API Gateway and Lambda bill.",
            ge=1,
            le=100_000_000,
        ),
    ] = 100_000
    log_days: Annotated[
        Literal[1, 3, 5, 7, 14, 30, 60, 90, 180, 365],
        Field(title="Logs (days)", description="How long CloudWatch keeps them."),
    ] = 30
    dry_run: DryRun = False


class WithdrawRequest(Choices):
    """Which endpoint's API is to go. The endpoint itself stays."""

    endpoint_name: EndpointName = "house-prices"
    dry_run: DryRun = True
