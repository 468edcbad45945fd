"""A request to train held against the policy: what the role of whoever asks does not have, with all its other problems. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from trainmaster.budget.approval import training_rate
from trainmaster.budget.prices import PriceList
from trainmaster.training.problems import Problem
from trainmaster.training.request import TrainingRequest
from trainmaster.workspaces.policy.rules import Asked, Policy, check


def policy_problems(
    policy: Policy, request: TrainingRequest, prices: PriceList, region: str, *, priced: bool
) -> Iterator[Problem]:
    """A problem for each violation. A job may cost what the dearest of its types costs; that nobody knows what it costs is said
    elsewhere, unless it is `priced`."""
    for one in check(policy, asked_of(request, prices, region)):
        if priced or one.rule != "max_hourly_cost":
            yield Problem("policy", one.message, one.remedy)


def asked_of(request: TrainingRequest, prices: PriceList, region: str) -> Asked:
    """What the policy looks at, fallbacks included."""
    types = tuple(dict.fromkeys((request.instance_type, *request.instance_types)))
    choices = {kind: _hourly(request, prices, kind, region) for kind in prices.instance_types("training", region)}
    return Asked(
        "training",
        user_id=request.payer.user_id,
        team=request.team,
        instance_types=types,
        hourly_cost=max(choices[kind] for kind in types) if choices.keys() >= set(types) else None,
        data_classification=request.data_classification,
        tags=request.tags,
        choices=choices,
    )


def _hourly(request: TrainingRequest, prices: PriceList, instance_type: str, region: str) -> Decimal:
    return training_rate(prices, instance_type, request.instance_count, request.volume_size_gb, region).hourly
