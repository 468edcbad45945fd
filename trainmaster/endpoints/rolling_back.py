"""Back to a version that has proven itself before: the same way forward as any deployment, of what is kept in AWS."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

from trainmaster.budget.budgets import Payer
from trainmaster.budget.money import rounded_up
from trainmaster.endpoints.allowed import asked_again, require_allowed
from trainmaster.endpoints.deploying import find_config, find_model, settle, tags_of
from trainmaster.endpoints.deployment import patience_of
from trainmaster.endpoints.desired import ChosenModels
from trainmaster.endpoints.models.package import inspect_model
from trainmaster.endpoints.models.registry import describe_arn, require_not_rejected
from trainmaster.endpoints.plan import (
    CHALLENGER,
    ENDPOINT_TAG,
    HOURS_TAG,
    IDLE_TAG,
    KEEP_TAG,
    SCALING_TAG,
    SHADOW,
    VARIANT,
    WHEN_OVER_TAG,
    Desired,
    variants_rate,
)
from trainmaster.endpoints.request import OURS, Lifetime, RollbackRequest, Scaling
from trainmaster.endpoints.scaling import tagged_scaling
from trainmaster.endpoints.seen import LONG_AGO, Version, versions_of
from trainmaster.errors import OverBudgetError, RefusedError, UnknownChoiceError, UnknownPriceError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.policy.file import load_policy


def plan_rollback(endpoint_name: str, serving: str, versions: Sequence[Version], wanted: str = "") -> Version:
    """The version to go back to: the one wanted or, without one, the proven one deployed last before what serves.

    So going back twice leads further back. Raises UnknownChoiceError and RefusedError, with the versions there are.
    """
    proven = [version for version in versions if version.is_proven and version.config != serving]
    there = f"Proven versions, newest first: {', '.join(one.config for one in proven) or 'none'}."
    if wanted:
        found = next((version for version in proven if version.config == wanted), None)
        if found is None:
            raise UnknownChoiceError(f"Endpoint {endpoint_name} has no other proven version {wanted}. {there}")
        return found
    since = next((_since(version) for version in versions if version.config == serving), None)
    earlier = [version for version in proven if since is None or _since(version) < since]
    if not earlier:
        raise RefusedError(
            f"Endpoint {endpoint_name} serves {serving or 'nothing'}, and no proven version before it is kept. {there}"
            f" {_ways(endpoint_name, proven)}"
        )
    return max(earlier, key=_since)


def _ways(endpoint_name: str, proven: Sequence[Version]) -> str:
    named = (
        f"Name one: `trainmaster endpoints rollback {endpoint_name} --to {proven[0].config}`, or deploy"
        if proven
        else "Deploy"
    )
    return f"{named} the model that should serve."


def desire_earlier(desk: Desk, request: RollbackRequest) -> tuple[Desired, ChosenModels]:
    """The endpoint as it was, and the models that served then; where it was removed and its versions kept, as it was last.

    Raises UnknownChoiceError where nothing is kept, RefusedError where models are gone or were rejected, PolicyRefusedError where it was
    removed and would not be given any more, OverBudgetError where an hour
    costs more than what serves now and than was approved.
    """
    sagemaker, name = desk.client("sagemaker"), request.endpoint_name
    # what an update under way will have come to is what counts: until then AWS shows the version it began from
    endpoint, versions = settle(sagemaker, name, patience_of(desk.settings)), versions_of(sagemaker, name)
    if endpoint is None and not versions:
        raise UnknownChoiceError(
            f"There is no endpoint {name} of Trainmaster's to take back. `trainmaster endpoints list` shows those there are."
        )
    serving = endpoint["EndpointConfigName"] if endpoint else ""
    version = plan_rollback(name, serving, versions, request.config_name)
    registered = describe_arn(sagemaker, version.package) if version.package else None
    if registered:
        require_not_rejected(registered)
    desired = _as_it_was(desk, name, version.config, tags_of(sagemaker, endpoint["EndpointArn"]) if endpoint else {})
    if endpoint is None:
        payer = request.payer(Payer(desk.settings.user_id, desk.settings.team))
        require_allowed(load_policy(desk.settings), name, asked_again(desired, _variants(desired.config), payer))
    require_affordable(desired, _hourly_now(desk, serving) if serving else Decimal(0), request.max_hourly_cost)
    uris = {
        variant["VariantName"]: model["PrimaryContainer"]["ModelDataUrl"]
        for variant in _variants(desired.config)
        for model in desired.models
        if model["ModelName"] == variant["ModelName"]
    }
    s3 = desk.client("s3")
    beside = {one: inspect_model(s3, uris[one]) if one in uris else None for one in (CHALLENGER, SHADOW)}
    main = inspect_model(s3, uris[VARIANT], sha256=version.sha256)
    return desired, ChosenModels(main, version.package, beside[CHALLENGER], beside[SHADOW])


def require_affordable(desired: Desired, now: Decimal, limit: Decimal) -> None:
    """Raises OverBudgetError for what costs more an hour than is paid `now` and than was approved."""
    if desired.hourly_cost <= max(now, limit):
        return
    serves = f", and ${now} is paid now" if now else ""
    raise OverBudgetError(
        f"Endpoint {desired.endpoint_name} with {desired.config_name}",
        f"${desired.hourly_cost} an hour",
        limit,
        [],
        f"raise max_hourly_cost to at least ${rounded_up(desired.hourly_cost)}",
        stands=f"max_hourly_cost is ${limit}{serves}",
    )


def _hourly_now(desk: Desk, config_name: str) -> Decimal:
    """At most, of what serves; nothing where nobody knows its price."""
    sagemaker = desk.client("sagemaker")
    config: Any = find_config(sagemaker, config_name)
    if config is None:
        return Decimal(0)
    scaling = tagged_scaling(tags_of(sagemaker, config["EndpointConfigArn"]).get(SCALING_TAG))
    try:
        return _rate(desk, config, scaling)
    except UnknownPriceError:
        return Decimal(0)


def _rate(desk: Desk, config: dict[str, Any], scaling: Scaling | None) -> Decimal:
    most = scaling.max_instances if scaling else None
    return variants_rate(desk.prices, _variants(config), desk.settings.region, most)


def _as_it_was(desk: Desk, endpoint_name: str, config_name: str, endpoint_tags: dict[str, str]) -> Desired:
    sagemaker = desk.client("sagemaker")
    config: Any = find_config(sagemaker, config_name)
    tags = tags_of(sagemaker, config["EndpointConfigArn"])
    names = list(dict.fromkeys(variant["ModelName"] for variant in _variants(config)))
    models = [_model(sagemaker, endpoint_name, model) for model in names]
    scaling = tagged_scaling(tags.get(SCALING_TAG))
    of_its_life = endpoint_tags or tags
    hours, idle = of_its_life.get(HOURS_TAG), of_its_life.get(IDLE_TAG)
    when_over = cast("Any", of_its_life.get(WHEN_OVER_TAG, "warn"))
    return Desired(
        endpoint_name,
        names[0],
        config_name,
        models[0],
        {**config, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]},
        _rate(desk, config, scaling),
        others=tuple(models[1:]),
        scaling=scaling,
        installation=str(desk.catalogue.installation),
        lifetime=Lifetime(
            hours=float(hours) if hours else None, idle_minutes=int(idle) if idle else None, when_over=when_over
        ),
        tags={key: value for key, value in tags.items() if not key.startswith((OURS, "aws:"))},
        keep_versions=int(of_its_life.get(KEEP_TAG, "3")),
        earlier=True,
    )


def _model(sagemaker: Any, endpoint_name: str, name: str) -> dict[str, Any]:
    found = find_model(sagemaker, name)
    if found is None:
        raise RefusedError(
            f"Endpoint {endpoint_name} cannot go back: model {name} was deleted. Deploy its artifact again instead."
        )
    tags = [{"Key": ENDPOINT_TAG, "Value": endpoint_name}]
    return {**{key: found[key] for key in ("ModelName", "PrimaryContainer", "ExecutionRoleArn")}, "Tags": tags}


def _variants(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])]


def _since(version: Version) -> Any:
    return version.deployed_at or version.made_at or LONG_AGO
