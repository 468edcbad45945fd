"""Desired state compared with described state: a list of steps, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from trainmaster.budget.money import rounded_up
from trainmaster.budget.prices import PriceList
from trainmaster.endpoints.package import ModelPackage
from trainmaster.endpoints.request import EndpointChoices, EndpointRequest
from trainmaster.errors import NameConflictError, OverBudgetError, RefusedError

ENDPOINT_TAG = "trainmaster:endpoint"
REPLACES_TAG = "trainmaster:replaces"
"""On a configuration: the one that served before it, "" where none did."""
PROOF_TAG = "trainmaster:proof"
"""On a configuration: "new" until it has answered a smoke test, then "proven"; "again" while a proven one is re-deployed.

"failed" says that it was undone: it is not applied again unless forced.
"""
MODEL_URI_TAG = "trainmaster:model-uri"
SHA256_TAG = "trainmaster:sha256"
PACKAGE_TAG = "trainmaster:model-package"
"""On a configuration: the ARN of the registry's version; absent where the artifact came from elsewhere."""
DEPLOYED_TAG = "trainmaster:deployed-at"
"""On a configuration: when it was last put into service (ISO, UTC)."""
EXPIRES_TAG = "trainmaster:expires"
"""On an endpoint: when its time to live is over (ISO, UTC); absent where it has none."""
IDLE_TAG = "trainmaster:idle-minutes"
WHEN_OVER_TAG = "trainmaster:when-over"
"""On an endpoint: warn, scale-down or remove, once it is idle, past its time, or out of budget."""
KEEP_TAG = "trainmaster:keep-versions"
VARIANT = "all-traffic"
CHALLENGER = "challenger"
SHADOW = "shadow"
SETTLING = {"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"}
HOPELESS = {"OutOfService", "UpdateRollbackFailed"}

Kind = Literal["create-model", "create-config", "remember", "delete-endpoint", "create-endpoint", "update-endpoint"]


@dataclass(frozen=True)
class Step:
    """One change of AWS's state: what is done to which name."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.replace('-', ' ')} {self.name or 'that none served'}"


@dataclass(frozen=True)
class Desired:
    """The endpoint as it should be. Names follow from content, so the same input asks for nothing new."""

    endpoint_name: str
    model_name: str
    config_name: str
    model: dict[str, Any]
    config: dict[str, Any]
    hourly_cost: Decimal


@dataclass(frozen=True)
class Described:
    """The endpoint as AWS has it; `status` and `config_name` are None where there is no endpoint. `ours` says its tag."""

    status: str | None
    config_name: str | None
    has_model: bool
    has_config: bool
    ours: bool = True


def desired_endpoint(
    request: EndpointRequest, package: ModelPackage, *, image_uri: str, role_arn: str, region: str, prices: PriceList
) -> Desired:
    """Raises UnknownPriceError, and OverBudgetError when an hour costs more than was approved."""
    hourly = approve_hosting(request, prices, region)
    tags = [{"Key": ENDPOINT_TAG, "Value": request.endpoint_name}]
    container = {
        "Image": image_uri,
        "ModelDataUrl": package.uri,
        "Environment": {
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
            "SAGEMAKER_REGION": region,
        },
    }
    model_name = f"{request.endpoint_name}-{_short([package.sha256, container, role_arn])}"
    variant = {
        "VariantName": VARIANT,
        "ModelName": model_name,
        "InstanceType": request.instance_type,
        "InitialInstanceCount": request.instance_count,
        "InitialVariantWeight": 1.0,
    }
    config_name = f"{request.endpoint_name}-{_short([model_name, variant])}"
    return Desired(
        request.endpoint_name,
        model_name,
        config_name,
        {"ModelName": model_name, "PrimaryContainer": container, "ExecutionRoleArn": role_arn, "Tags": tags},
        {"EndpointConfigName": config_name, "ProductionVariants": [variant], "Tags": tags},
        hourly,
    )


def hosting_rate(prices: PriceList, variants: Sequence[tuple[str, int]], region: str) -> Decimal:
    """US dollars an hour of so many instances of each type. Raises UnknownPriceError."""
    costs = [prices.instance(kind, "hosting", region).usd * count for kind, count in variants]
    return sum(costs, Decimal(0))


def approve_hosting(choices: EndpointChoices, prices: PriceList, region: str) -> Decimal:
    """US dollars an hour. Raises UnknownPriceError, and OverBudgetError when that is more than was approved."""

    def cost(kind: str) -> Decimal:
        return hosting_rate(prices, [(kind, choices.instance_count)], region)

    hourly = cost(choices.instance_type)
    if hourly > choices.max_hourly_cost:
        fitting = [kind for kind in prices.instance_types("hosting", region) if cost(kind) <= choices.max_hourly_cost]
        raise OverBudgetError(
            f"Serving on {choices.instance_count} × {choices.instance_type}",
            f"${hourly} an hour",
            choices.max_hourly_cost,
            fitting[-3:],
            f"raise max_hourly_cost to at least ${rounded_up(hourly)}",
            stands=f"max_hourly_cost is ${choices.max_hourly_cost}",
        )
    return hourly


def plan_deployment(desired: Desired, described: Described) -> list[Step]:
    """The steps that lead from what is to what should be; empty when nothing is to be done.

    The endpoint must have settled. Raises NameConflictError for somebody else's endpoint, RefusedError for the states only a
    person can lead out of.
    """
    if described.status in SETTLING:
        raise ValueError(f"{desired.endpoint_name} is {described.status}: wait until it has settled, then plan")
    if not described.ours:
        raise NameConflictError(
            f"Endpoint {desired.endpoint_name} exists and was not made by Trainmaster. Choose another endpoint_name, or hand"
            f" it over by the tag {ENDPOINT_TAG}={desired.endpoint_name}."
        )
    if described.status in HOPELESS:
        raise RefusedError(
            f"Endpoint {desired.endpoint_name} is {described.status}, which AWS lets nobody update. Remove it"
            " (remove-endpoint), then deploy again."
        )
    if described.status == "InService" and described.config_name == desired.config_name:
        return []
    steps: list[Step] = []
    if not described.has_model:
        steps.append(Step("create-model", desired.model_name))
    if not described.has_config:
        steps.append(Step("create-config", desired.config_name))
    if described.status == "InService":
        replaced = str(described.config_name)
        return [*steps, Step("remember", replaced), Step("update-endpoint", desired.endpoint_name)]
    if described.status == "Failed":
        steps.append(Step("delete-endpoint", desired.endpoint_name))
    return [*steps, Step("remember", ""), Step("create-endpoint", desired.endpoint_name)]


def _short(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
