"""Back to what served before a deployment that failed. What that was is read off AWS, so a new process can undo too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainmaster.aws.polling import Patience
from trainmaster.endpoints.deploying import (
    delete,
    delete_endpoint,
    find_config,
    find_endpoint,
    find_model,
    settle,
    tags_of,
)
from trainmaster.endpoints.plan import PROOF_TAG, REPLACES_TAG, Desired

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


def undo_deployment(sagemaker: SageMakerClient, desired: Desired, patience: Patience) -> str:
    """Undo what is not proven, and only that; then remove what was newly made. Returns a sentence that says what serves now.

    A configuration that has answered a smoke test before, and was not deployed anew, is left alone whatever it answers today: it is not
    this deployment's to take away. Nor is an endpoint deleted that served something before.
    """
    config = find_config(sagemaker, desired.config_name)
    tags = tags_of(sagemaker, config["EndpointConfigArn"]) if config else {}
    proof, previous = tags.get(PROOF_TAG, "new"), tags.get(REPLACES_TAG)
    said = _step_back(sagemaker, desired, proof, previous, patience)
    if proof == "new":
        _remove_unused(sagemaker, desired)
    return said


def _step_back(
    sagemaker: SageMakerClient, desired: Desired, proof: str, previous: str | None, patience: Patience
) -> str:
    name = desired.endpoint_name
    endpoint = settle(sagemaker, name, patience)
    if endpoint is None:
        return f"Nothing is served: no endpoint {name} was there before."
    status, serving = endpoint["EndpointStatus"], endpoint["EndpointConfigName"]
    if serving != desired.config_name or proof == "proven":
        return f"Endpoint {name} is {status} with {serving}, as before."
    if previous == "":
        delete_endpoint(sagemaker, name, patience)
        return f"Endpoint {name} was removed again; none served before."
    if not previous or status != "InService" or find_config(sagemaker, previous) is None:
        return f"Endpoint {name} is {status} with {serving} and could not be taken back to {previous}: look at it."
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=previous)
    now = settle(sagemaker, name, patience)
    if now and (now["EndpointStatus"], now["EndpointConfigName"]) == ("InService", previous):
        return f"Endpoint {name} is back on {previous}."
    standing = f"{now['EndpointStatus']} with {now['EndpointConfigName']}" if now else "gone"
    return f"Endpoint {name} should have gone back to {previous} but is {standing}: look at it."


def _remove_unused(sagemaker: SageMakerClient, desired: Desired) -> None:
    endpoint = find_endpoint(sagemaker, desired.endpoint_name)
    serving = find_config(sagemaker, endpoint["EndpointConfigName"]) if endpoint else None
    if endpoint and (serving is None or serving["EndpointConfigName"] == desired.config_name):
        return
    delete(
        lambda: sagemaker.delete_endpoint_config(EndpointConfigName=desired.config_name),
        lambda: find_config(sagemaker, desired.config_name) is not None,
    )
    if serving is None or desired.model_name not in {variant["ModelName"] for variant in serving["ProductionVariants"]}:
        delete(
            lambda: sagemaker.delete_model(ModelName=desired.model_name),
            lambda: find_model(sagemaker, desired.model_name) is not None,
        )
