"""A deployment held against the policy: what the role of whoever asks does not have. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from trainmaster.budget.budgets import Payer
from trainmaster.budget.prices import PriceList
from trainmaster.endpoints.desired import hourly_cost
from trainmaster.endpoints.plan import DATA_TAG, Desired
from trainmaster.endpoints.request import EndpointChoices, Lifetime
from trainmaster.errors import PolicyRefusedError
from trainmaster.workspaces.policy.rules import Asked, Policy, check


def require_allowed(policy: Policy, endpoint_name: str, asked: Asked) -> None:
    """Raises PolicyRefusedError with all violations."""
    violations = check(policy, asked)
    if violations:
        raise PolicyRefusedError(f"Endpoint {endpoint_name}", violations)


def asked_of(choices: EndpointChoices, payer: Payer, prices: PriceList, region: str) -> Asked:
    """What the policy looks at in a request. Raises UnknownPriceError."""

    def costs(instance_type: str) -> Decimal:
        return hourly_cost(choices.model_copy(update={"instance_type": instance_type}), prices, region)

    on_instances = choices.serverless is None
    return Asked(
        "endpoint",
        user_id=payer.user_id,
        team=payer.team,
        instance_types=(choices.instance_type,) if on_instances else (),
        hourly_cost=hourly_cost(choices, prices, region),
        data_classification=choices.data_classification,
        tags=choices.tags,
        auto_stop_minutes=_stops_after(choices.lifetime),
        choices={kind: costs(kind) for kind in prices.instance_types("hosting", region)} if on_instances else {},
    )


def asked_again(desired: Desired, variants: Sequence[Mapping[str, Any]], payer: Payer) -> Asked:
    """What the policy looks at in an endpoint that is brought back as it was."""
    tags = {tag["Key"]: tag["Value"] for tag in desired.config["Tags"]}
    return Asked(
        "endpoint",
        user_id=payer.user_id,
        team=payer.team,
        instance_types=tuple(dict.fromkeys(one["InstanceType"] for one in variants if "InstanceType" in one)),
        hourly_cost=desired.hourly_cost,
        data_classification=tags.get(DATA_TAG, ""),
        tags=tags,
        auto_stop_minutes=_stops_after(desired.lifetime),
    )


def _stops_after(lifetime: Lifetime) -> int | None:
    """Idle minutes after which nothing of it is paid any more."""
    return lifetime.idle_minutes if lifetime.when_over == "remove" else None
