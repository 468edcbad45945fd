"""Old versions of an endpoint go once a newer one has proven itself: all but the last few that can be gone back to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from trainmaster.endpoints.deploying import delete, find_config, find_endpoint, find_model
from trainmaster.endpoints.removing import Belongings, model_names, tagged_models
from trainmaster.endpoints.seen import Version, versions_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

UNDER_WAY = timedelta(hours=9)
"""What was made less long ago and has not proven itself may belong to a deployment that goes on: AWS ends one after 8 hours."""


def prune_versions(sagemaker: SageMakerClient, endpoint_name: str, count: int) -> Belongings:
    """Remove the configurations that are not kept, and the models that nothing uses then; what was removed.

    Safe to repeat. Nothing is removed unless what serves has proven itself.
    """
    endpoint = find_endpoint(sagemaker, endpoint_name)
    versions = versions_of(sagemaker, endpoint_name)
    serving = endpoint["EndpointConfigName"] if endpoint else ""
    if not any(version.config == serving and version.is_proven for version in versions):
        return Belongings(endpoint=None, configs=[], models=[])
    now = datetime.now(UTC)
    kept = to_keep(serving, versions, count, now)
    configs = [version.config for version in versions if version.config not in kept]
    models = _unused(sagemaker, endpoint_name, kept, configs, now)
    for model in models:  # first, since a configuration is what tells whose they were
        delete(
            lambda model=model: sagemaker.delete_model(ModelName=model),  # type: ignore[misc]
            lambda model=model: find_model(sagemaker, model) is not None,  # type: ignore[misc]
        )
    for config in configs:
        delete(
            lambda config=config: sagemaker.delete_endpoint_config(EndpointConfigName=config),  # type: ignore[misc]
            lambda config=config: find_config(sagemaker, config) is not None,  # type: ignore[misc]
        )
    return Belongings(endpoint=None, configs=configs, models=models)


def to_keep(serving: str, versions: Sequence[Version], count: int, now: datetime) -> set[str]:
    """The configuration that serves, the last `count` proven ones beside it, and whatever may be under way.

    `versions` begin with the one deployed last.
    """
    others = [version for version in versions if version.config != serving]
    proven = [version.config for version in others if version.is_proven]
    young = [
        version.config
        for version in others
        if version.proof in {"", "new"} and version.made_at and now - version.made_at < UNDER_WAY
    ]
    return {serving, *proven[:count], *young}


def _unused(
    sagemaker: SageMakerClient, endpoint_name: str, kept: Collection[str], pruned: Collection[str], now: datetime
) -> list[str]:
    """Models no kept configuration has: those of pruned ones, and others that are too old to be about to get one."""
    used = {model for config in kept for model in model_names(find_config(sagemaker, config))}
    of_pruned = {model for config in pruned for model in model_names(find_config(sagemaker, config))}
    return [
        name
        for name, made_at in tagged_models(sagemaker, endpoint_name)
        if name not in used and (name in of_pruned or now - made_at >= UNDER_WAY)
    ]
