"""Back to what served before a deployment that failed. What that was is read off AWS, so a new process can undo too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trainmaster.aws.polling import Patience
from trainmaster.endpoints.alarms import alarm_names, delete_alarms
from trainmaster.endpoints.deploying import (
    delete,
    delete_endpoint,
    find_config,
    find_endpoint,
    find_model,
    settle,
    tag_config,
    tags_of,
)
from trainmaster.endpoints.described import Client
from trainmaster.endpoints.plan import (
    CHALLENGER,
    FAILURE_TAG,
    PROOF_TAG,
    REPLACES_TAG,
    SCALING_TAG,
    VARIANT,
    Desired,
)
from trainmaster.endpoints.removing import model_names
from trainmaster.endpoints.request import Scaling
from trainmaster.endpoints.rollout import KEEPING_COUNTS
from trainmaster.endpoints.scaling import register_scaling, stop_scaling, tagged_scaling

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

LONGEST_FAILURE = 250
_NOT_IN_TAGS = re.compile(r"[^\w\s.:/=+\-@]|[\n\r\t]")


def undo_deployment(client: Client, desired: Desired, patience: Patience, *, failure: str = "") -> str:
    """Undo what is not proven, and only that; then remove what was newly made. Returns a sentence that says what serves now.

    A configuration that has answered a smoke test before, and was not deployed anew, is left alone whatever it answers today: it is not
    this deployment's to take away. Nor is an endpoint deleted that served something before. `failure` says why it is the
    configuration that is to blame: then it is kept, serving nothing and costing nothing, as a note not to try it again.
    """
    sagemaker = client("sagemaker")
    config = find_config(sagemaker, desired.config_name)
    tags = tags_of(sagemaker, config["EndpointConfigArn"]) if config else {}
    proof, previous = tags.get(PROOF_TAG, "new"), tags.get(REPLACES_TAG)
    said = _step_back(client, desired, proof, previous, patience)
    endpoint = find_endpoint(sagemaker, desired.endpoint_name)
    if endpoint is not None and endpoint["EndpointConfigName"] == desired.config_name:
        return said
    if config is not None and failure and proof != "proven":
        tag_config(sagemaker, desired.config_name, {PROOF_TAG: "failed", FAILURE_TAG: _as_tag(failure)})
        said += f" {desired.config_name} is kept as a note that it failed; force tries it again."
    if proof in {"new", "failed"}:
        _remove_unused(sagemaker, desired, keep_config=bool(failure))
    return said


def _step_back(client: Client, desired: Desired, proof: str, previous: str | None, patience: Patience) -> str:
    sagemaker, name = client("sagemaker"), desired.endpoint_name
    endpoint = settle(sagemaker, name, patience)
    if endpoint is None:
        _unwatch(client, name)
        return f"Nothing is served: no endpoint {name} was there before."
    status, serving = endpoint["EndpointStatus"], endpoint["EndpointConfigName"]
    if serving != desired.config_name or proof == "proven":
        _scale_as(client, name, serving)
        return f"Endpoint {name} is {status} with {serving}, as before."
    if previous == "":
        _stop_scaling(client, name)
        delete_endpoint(sagemaker, name, patience)
        _unwatch(client, name)
        return f"Endpoint {name} was removed again; none served before."
    if not previous or status != "InService" or find_config(sagemaker, previous) is None:
        return f"Endpoint {name} is {status} with {serving} and could not be taken back to {previous}: look at it."
    _stop_scaling(client, name)  # which AWS wants before the instance type changes
    how = KEEPING_COUNTS if _scaling_of(sagemaker, previous) else {}
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=previous, **how)
    now = settle(sagemaker, name, patience)
    if now and (now["EndpointStatus"], now["EndpointConfigName"]) == ("InService", previous):
        _scale_as(client, name, previous)
        return f"Endpoint {name} is back on {previous}."
    standing = f"{now['EndpointStatus']} with {now['EndpointConfigName']}" if now else "gone"
    return f"Endpoint {name} should have gone back to {previous} but is {standing}: look at it."


def _scale_as(client: Client, endpoint_name: str, config_name: str) -> None:
    """Register autoscaling again as the configuration that serves was deployed with it."""
    sagemaker = client("sagemaker")
    config, scaling = find_config(sagemaker, config_name), _scaling_of(sagemaker, config_name)
    if config is None or scaling is None:
        return
    for variant in config["ProductionVariants"]:
        register_scaling(client("application-autoscaling"), endpoint_name, variant["VariantName"], scaling)


def _scaling_of(sagemaker: SageMakerClient, config_name: str) -> Scaling | None:
    config = find_config(sagemaker, config_name)
    return tagged_scaling(tags_of(sagemaker, config["EndpointConfigArn"]).get(SCALING_TAG)) if config else None


def _stop_scaling(client: Client, endpoint_name: str) -> None:
    for variant in (VARIANT, CHALLENGER):
        stop_scaling(client("application-autoscaling"), endpoint_name, variant)


def _unwatch(client: Client, endpoint_name: str) -> None:
    delete_alarms(client("cloudwatch"), alarm_names(endpoint_name, [VARIANT, CHALLENGER]))


def _remove_unused(sagemaker: SageMakerClient, desired: Desired, *, keep_config: bool) -> None:
    used = _used_models(sagemaker, desired)
    for name in {model["ModelName"] for model in desired.models} - used:
        delete(
            lambda name=name: sagemaker.delete_model(ModelName=name),  # type: ignore[misc]
            lambda name=name: find_model(sagemaker, name) is not None,  # type: ignore[misc]
        )
    if not keep_config:
        delete(
            lambda: sagemaker.delete_endpoint_config(EndpointConfigName=desired.config_name),
            lambda: find_config(sagemaker, desired.config_name) is not None,
        )


def _used_models(sagemaker: SageMakerClient, desired: Desired) -> set[str]:
    """By the other configurations of the endpoint."""
    used: set[str] = set()
    for page in sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=desired.endpoint_name):
        for one in page["EndpointConfigs"]:
            if one["EndpointConfigName"] != desired.config_name:
                used |= model_names(find_config(sagemaker, one["EndpointConfigName"]))
    return used


def _as_tag(text: str) -> str:
    return re.sub(r" +", " ", _NOT_IN_TAGS.sub(" ", text)).strip()[:LONGEST_FAILURE]
