"""What AWS has of an endpoint, gathered for a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trainmaster.endpoints.alarms import alarm_names, described_alarms
from trainmaster.endpoints.deploying import Found, find_config, find_endpoint, find_model, tags_of
from trainmaster.endpoints.plan import (
    CHALLENGER,
    ENDPOINT_TAG,
    FAILURE_TAG,
    PROOF_TAG,
    REPLACES_TAG,
    VARIANT,
    Described,
    Desired,
)
from trainmaster.endpoints.scaling import described_scaling

Client = Callable[[str], Any]
"""From the name of an AWS service to its boto3 client."""
UNPROVEN = {"new", "failed"}


def describe_endpoint(client: Client, desired: Desired) -> Described:
    """What AWS has of what is desired, and of what serves in its stead."""
    sagemaker, name = client("sagemaker"), desired.endpoint_name
    endpoint, config = find_endpoint(sagemaker, name), find_config(sagemaker, desired.config_name)
    of_config = tags_of(sagemaker, config["EndpointConfigArn"]) if config else {}
    tags = tags_of(sagemaker, endpoint["EndpointArn"]) if endpoint else {}
    serving = find_config(sagemaker, endpoint["EndpointConfigName"]) if endpoint else None
    variants = variants_of(endpoint, serving)
    answering = [one["VariantName"] for one in (serving or {}).get("ProductionVariants", [])]
    known = list(dict.fromkeys([VARIANT, CHALLENGER, *desired.answering, *answering]))
    scaling = {one: described_scaling(client("application-autoscaling"), name, one) for one in known}
    return Described(
        status=endpoint["EndpointStatus"] if endpoint else None,
        config_name=endpoint["EndpointConfigName"] if endpoint else None,
        models=frozenset(
            model["ModelName"] for model in desired.models if find_model(sagemaker, model["ModelName"]) is not None
        ),
        has_config=config is not None,
        ours=endpoint is None or tags.get(ENDPOINT_TAG) == name,
        proof=of_config.get(PROOF_TAG, ""),
        failure=of_config.get(FAILURE_TAG, ""),
        good=_good(sagemaker, serving) if endpoint else "",
        variants=variants,
        scaling={variant: found for variant, found in scaling.items() if found is not None},
        alarms=described_alarms(client("cloudwatch"), alarm_names(name, [VARIANT, CHALLENGER])),
        tags=tags,
    )


def variants_of(endpoint: Found, config: Found) -> tuple[Mapping[str, Any], ...]:
    """The variants of a configuration that serves, a shadow included, with the numbers of instances that there are."""
    if endpoint is None or config is None:
        return ()
    standing = [*endpoint.get("ProductionVariants", []), *endpoint.get("ShadowProductionVariants", [])]
    now = {one["VariantName"]: one["CurrentInstanceCount"] for one in standing if "CurrentInstanceCount" in one}
    given = [*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])]
    return tuple(
        {**one, "InitialInstanceCount": now[one["VariantName"]]} if one["VariantName"] in now else one for one in given
    )


def _good(sagemaker: Any, serving: Found) -> str:
    """What serves or, when that has not proven itself, what it replaced, if that is still there."""
    if serving is None:
        return ""
    tags, name = tags_of(sagemaker, serving["EndpointConfigArn"]), str(serving["EndpointConfigName"])
    before = tags.get(REPLACES_TAG, "")
    if tags.get(PROOF_TAG) in UNPROVEN and before and find_config(sagemaker, before) is not None:
        return before
    return name
