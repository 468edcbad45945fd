"""Desired state compared with described state: a list of steps, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from trainmaster.budget.prices import PriceList
from trainmaster.budget.serverless import serverless_price
from trainmaster.endpoints.alarms import Alarm
from trainmaster.endpoints.request import Lifetime, Rollout, Scaling
from trainmaster.errors import NameConflictError, RefusedError

ENDPOINT_TAG = "trainmaster:endpoint"
REPLACES_TAG = "trainmaster:replaces"
"""On a configuration: the one that served before it, "" where none did."""
PROOF_TAG = "trainmaster:proof"
"""On a configuration: "new" until it has answered a smoke test, then "proven"; "again" while a proven one is re-deployed.

"failed" says that it was undone: it is not applied again unless forced.
"""
MODEL_URI_TAG = "trainmaster:model-uri"
SHA256_TAG = "trainmaster:sha256"
DATA_TAG = "trainmaster:data-classification"
"""On a configuration: of what data the model is, as whoever deployed it said; absent where nobody did."""
PACKAGE_TAG = "trainmaster:model-package"
"""On a configuration: the ARN of the registry's version; absent where the artifact came from elsewhere."""
DEPLOYED_TAG = "trainmaster:deployed-at"
"""On a configuration: when it was last put into service (ISO, UTC)."""
EXPIRES_TAG = "trainmaster:expires"
"""On an endpoint: when its time to live is over (ISO, UTC); absent where it has none."""
HOURS_TAG = "trainmaster:hours-to-live"
"""How many it has from when it is deployed, or brought back."""
IDLE_TAG = "trainmaster:idle-minutes"
WHEN_OVER_TAG = "trainmaster:when-over"
"""On an endpoint: warn, scale-down or remove, once it is idle, past its time, or out of budget."""
KEEP_TAG = "trainmaster:keep-versions"
SCALING_TAG = "trainmaster:scaling"
"""On a configuration: the autoscaling it was deployed with, `least-most@target`; absent where it had none."""
FAILURE_TAG = "trainmaster:failure"
"""On a configuration that failed: why, as far as a tag can say it."""
VARIANT = "all-traffic"
CHALLENGER = "challenger"
SHADOW = "shadow"
SETTLING = {"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"}
HOPELESS = {
    "OutOfService": "AWS keeps it from answering and lets nobody update it",
    "UpdateRollbackFailed": "an update failed, and so did going back: it serves a mix of the old and the new version, and AWS"
    " lets nobody update it",
}

Kind = Literal[
    "create-model", "create-config", "put-alarm", "stop-scaling", "remember", "delete-endpoint", "create-endpoint",
    "update-endpoint", "scale", "set-lifetime", "set-tags", "delete-alarm", "rehearse",
]  # fmt: skip
LAUNCHES: frozenset[Kind] = frozenset({"create-endpoint", "update-endpoint"})
REHEARSAL: Kind = "rehearse"
"""The step that is taken on an endpoint of its own, before the one that serves is touched."""
REHEARSAL_SUFFIX = "--rehearsal"
"""Of that endpoint's name. With two hyphens, which no name has that somebody can ask for: it is taken away, and must be nobody's."""
AFTERWARDS: frozenset[Kind] = frozenset({"scale", "set-lifetime", "set-tags", "delete-alarm"})
"""Steps that take an endpoint in service, so they follow the wait for it."""


@dataclass(frozen=True)
class Step:
    """One change of AWS's state: what is done to which name."""

    kind: Kind
    name: str
    keeps_counts: bool = False
    """Of an update: whether the variants keep the numbers of instances that autoscaling gave them."""

    def __str__(self) -> str:
        kept = ", keeping its instance counts" if self.keeps_counts else ""
        return f"{self.kind.replace('-', ' ')} {self.name or 'that none served'}{kept}"


@dataclass(frozen=True)
class Desired:
    """The endpoint as it should be. Names follow from content, so the same input asks for nothing new.

    `model` is the main variant's, `others` are those of a challenger or a shadow, each as CreateModel takes it.
    """

    endpoint_name: str
    model_name: str
    config_name: str
    model: dict[str, Any]
    config: dict[str, Any]
    hourly_cost: Decimal
    others: tuple[dict[str, Any], ...] = ()
    alarms: tuple[Alarm, ...] = ()
    rollout: Rollout = field(default_factory=Rollout)
    scaling: Scaling | None = None
    lifetime: Lifetime = field(default_factory=Lifetime)
    tags: Mapping[str, str] = field(default_factory=dict)
    """That were asked for, besides ours."""
    keep_versions: int = 3
    force: bool = False
    earlier: bool = False
    """Whether it is a version gone back to: when it was deployed, and the endpoint's alarms and lifetime, stay as they are."""
    installation: str = ""
    """Whose the endpoint is, as its tag says: where policies ask for it, no other may change or delete it."""

    @property
    def models(self) -> tuple[dict[str, Any], ...]:
        return (self.model, *self.others)

    @property
    def answering(self) -> list[str]:
        """The variants that answer requests, the main one first."""
        return [one["VariantName"] for one in self.config.get("ProductionVariants", [])]


@dataclass(frozen=True)
class Described:
    """The endpoint as AWS has it; `status` and `config_name` are None where there is no endpoint. `ours` says its tag."""

    status: str | None
    config_name: str | None
    models: frozenset[str] = frozenset()
    """Of those desired, the ones there are."""
    has_config: bool = False
    """Whether there is the one desired, and, in `proof` and `failure`, what came of it before."""
    ours: bool = True
    proof: str = ""
    failure: str = ""
    good: str = ""
    """The configuration to come back to: what serves or, when that has not proven itself, what served before it."""
    variants: tuple[Mapping[str, Any], ...] = ()
    """What serves, as its configuration says, with the numbers of instances there are."""
    scaling: Mapping[str, Scaling] = field(default_factory=dict)
    """By variant, what autoscaling is registered with."""
    alarms: frozenset[Alarm] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)
    """The endpoint's."""


@dataclass(frozen=True)
class Plan:
    """What is to be done, and what an hour of the endpoint costs before, as far as that is known."""

    steps: tuple[Step, ...]
    hourly_before: Decimal | None

    @property
    def launches(self) -> bool:
        """Whether it brings anything into service: then money is to be reserved first."""
        return any(step.kind in LAUNCHES for step in self.steps)

    @property
    def rehearses(self) -> bool:
        return any(step.kind == REHEARSAL for step in self.steps)

    def __str__(self) -> str:
        return "; ".join(map(str, self.steps)) or "nothing to do, it serves this already"


def hosting_rate(prices: PriceList, variants: Sequence[tuple[str, int]], region: str) -> Decimal:
    """US dollars an hour of so many instances of each type. Raises UnknownPriceError."""
    costs = [prices.instance(kind, "hosting", region).usd * count for kind, count in variants]
    return sum(costs, Decimal(0))


def variants_rate(
    prices: PriceList, variants: Sequence[Mapping[str, Any]], region: str, most: int | None = None
) -> Decimal:
    """US dollars an hour at most, of the variants of a configuration: serverless ones at full concurrency, those that answer
    and are scaled with `most` instances. Raises UnknownPriceError."""
    total = Decimal(0)
    for one in variants:
        if (serverless := one.get("ServerlessConfig")) is not None:
            price = serverless_price(region)
            total += price.busy_hour(serverless["MemorySizeInMB"], serverless["MaxConcurrency"])
            continue
        count = one["InitialInstanceCount"]
        if most is not None and one["VariantName"] != SHADOW:
            count = max(count, most)
        total += hosting_rate(prices, [(one["InstanceType"], count)], region)
    return total


def lifetime_tags(desired: Desired) -> dict[str, str]:
    """What the endpoint's tags say of its life, except when that is over."""
    life = desired.lifetime
    idle = {IDLE_TAG: str(life.idle_minutes)} if life.idle_minutes is not None else {}
    hours = {HOURS_TAG: f"{life.hours:g}"} if life.hours is not None else {}
    return {WHEN_OVER_TAG: life.when_over, KEEP_TAG: str(desired.keep_versions), **idle, **hours}


def plan_deployment(desired: Desired, described: Described) -> list[Step]:
    """The steps that lead from what is to what should be; empty when nothing is to be done.

    The endpoint must have settled. Raises NameConflictError for somebody else's endpoint, RefusedError for the states only a
    person can lead out of, for what has just failed there, and for a way of moving traffic that AWS has not got for this.
    """
    _require_plannable(desired, described)
    serves = described.status == "InService" and described.config_name == desired.config_name
    steps = [] if serves else _launching(desired, described)
    return [*steps, *_following(desired, described, created=any(step.kind == "create-endpoint" for step in steps))]


def _require_plannable(desired: Desired, described: Described) -> None:
    name = desired.endpoint_name
    if described.status in SETTLING:
        raise ValueError(f"{name} is {described.status}: wait until it has settled, then plan")
    if not described.ours:
        raise NameConflictError(
            f"Endpoint {name} exists and was not made by Trainmaster. Choose another endpoint_name, or hand"
            f" it over by the tag {ENDPOINT_TAG}={name}."
        )
    if described.status in HOPELESS:
        raise RefusedError(
            f"Endpoint {name} is {described.status}: {HOPELESS[described.status]}. Remove it (remove-endpoint), then deploy again."
        )
    if described.status == "InService" and described.config_name == desired.config_name:
        return
    if described.proof == "failed" and not desired.force:
        raise RefusedError(
            f"Endpoint {name} has tried {desired.config_name} before, and it failed: {described.failure or 'nobody noted why'}."
            " Deploy another model or other choices, or set force to try the same again."
        )
    serving = {one["VariantName"] for one in described.variants if one["VariantName"] != SHADOW}
    if described.status == "InService" and desired.rollout.kind != "all-at-once" and serving != set(desired.answering):
        raise RefusedError(
            f"Endpoint {name} serves {_listed(serving)}, and should serve {_listed(desired.answering)}: AWS moves traffic step by step"
            " only between the same variants. Set the rollout's kind to all-at-once."
        )


def _launching(desired: Desired, described: Described) -> list[Step]:
    steps = [
        Step("create-model", model["ModelName"])
        for model in desired.models
        if model["ModelName"] not in described.models
    ]
    if not described.has_config:
        steps.append(Step("create-config", desired.config_name))
    if _rehearses(desired, described):
        steps.append(Step(REHEARSAL, desired.config_name))
    steps += [Step("put-alarm", alarm.name) for alarm in desired.alarms if alarm not in described.alarms]
    steps += [Step("stop-scaling", variant) for variant in described.scaling if _must_stop(desired, described, variant)]
    if described.status == "InService":
        keeps = _keeps_counts(desired, described)
        return [
            *steps,
            Step("remember", described.good or str(described.config_name)),
            Step("update-endpoint", desired.endpoint_name, keeps),
        ]
    if described.status == "Failed":
        steps.append(Step("delete-endpoint", desired.endpoint_name))
    return [*steps, Step("remember", ""), Step("create-endpoint", desired.endpoint_name)]


def _following(desired: Desired, described: Described, *, created: bool) -> list[Step]:
    steps: list[Step] = []
    serves = described.config_name == desired.config_name
    if serves:
        steps += [Step("put-alarm", alarm.name) for alarm in desired.alarms if alarm not in described.alarms]
        steps += [Step("stop-scaling", one) for one in described.scaling if _must_stop(desired, described, one)]
    for variant in desired.answering if desired.scaling else []:
        if described.scaling.get(variant) != desired.scaling or _must_stop(desired, described, variant):
            steps.append(Step("scale", variant))
    if desired.earlier:
        return steps
    if not created and _lifetime_differs(desired, described.tags):
        steps.append(Step("set-lifetime", desired.endpoint_name))
    if not created and any(described.tags.get(key) != value for key, value in desired.tags.items()):
        steps.append(Step("set-tags", desired.endpoint_name))
    wanted = {alarm.name for alarm in desired.alarms}
    return [*steps, *(Step("delete-alarm", name) for name in sorted({one.name for one in described.alarms} - wanted))]


def _rehearses(desired: Desired, described: Described) -> bool:
    """A model that does not serve by now, or is to answer and was only listened to, in a configuration not proven before."""
    if described.status != "InService" or described.proof == "proven" or not desired.rollout.rehearse:
        return False
    serving = {one["ModelName"] for one in described.variants}
    answering = {one["ModelName"] for one in described.variants if one["VariantName"] != SHADOW}
    to_answer = {one["ModelName"] for one in desired.config["ProductionVariants"]}
    return bool({one["ModelName"] for one in desired.models} - serving or to_answer - answering)


def _must_stop(desired: Desired, described: Described, variant: str) -> bool:
    """AWS refuses an update that changes the instance type of a variant that is scaled, or takes it away."""
    if desired.scaling is None or variant not in desired.answering or described.status != "InService":
        return True
    wanted = {one["VariantName"]: one.get("InstanceType") for one in desired.config["ProductionVariants"]}
    return any(
        one["VariantName"] == variant and one.get("InstanceType") != wanted[variant] for one in described.variants
    )


def _keeps_counts(desired: Desired, described: Described) -> bool:
    """Where autoscaling set how many there are, an update would set them back; more than is paid for are not kept."""
    if desired.scaling is None or VARIANT not in described.scaling:
        return False
    counts = [one.get("InitialInstanceCount", 0) for one in described.variants]
    return max(counts, default=0) <= desired.scaling.max_instances


def _lifetime_differs(desired: Desired, tags: Mapping[str, str]) -> bool:
    wanted = lifetime_tags(desired)
    if any(tags.get(key) != value for key, value in wanted.items()) or (IDLE_TAG in tags and IDLE_TAG not in wanted):
        return True
    return desired.lifetime.hours is not None or EXPIRES_TAG in tags


def _listed(variants: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(variants))
