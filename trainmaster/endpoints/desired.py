"""From what was asked for to the endpoint as it should be: what AWS is to be told, by names that follow from content. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trainmaster.budget.money import rounded_up
from trainmaster.budget.prices import PriceList
from trainmaster.endpoints.alarms import desired_alarms
from trainmaster.endpoints.models.package import ModelPackage
from trainmaster.endpoints.plan import (
    CHALLENGER,
    DATA_TAG,
    ENDPOINT_TAG,
    MODEL_URI_TAG,
    PACKAGE_TAG,
    SCALING_TAG,
    SHA256_TAG,
    SHADOW,
    VARIANT,
    Desired,
    variants_rate,
)
from trainmaster.endpoints.request import Challenger, EndpointChoices, EndpointRequest, Shadow
from trainmaster.endpoints.scaling import scaling_tag
from trainmaster.errors import OverBudgetError

CAPTURED = "captured"
"""The prefix in the bucket; AWS goes on with the names of endpoint and variant, and the hour."""
_TAG = re.compile(r"[\w\s.:/=+\-@]{0,256}")
"""What AWS takes for a tag's value."""


@dataclass(frozen=True)
class ChosenModels:
    """The models of a request, looked into: the main one, with its ARN in the registry if it has one, and those beside it."""

    main: ModelPackage
    arn: str = ""
    challenger: ModelPackage | None = None
    shadow: ModelPackage | None = None


@dataclass(frozen=True)
class Place:
    """Where it is to run: the container's image, the role it assumes, the region, the bucket what is captured goes to, and
    whose it is."""

    image_uri: str
    role_arn: str
    region: str
    bucket: str = ""
    installation: str = ""


def desired_endpoint(request: EndpointRequest, models: ChosenModels, place: Place, prices: PriceList) -> Desired:
    """Raises UnknownPriceError, and OverBudgetError when an hour costs more than was approved."""
    hourly = approve_hosting(request, prices, place.region)
    name = request.endpoint_name
    tags = [{"Key": key, "Value": value} for key, value in {**request.tags, ENDPOINT_TAG: name}.items()]
    main = _model(name, models.main, place, tags)
    beside = {
        variant: _model(name, package, place, tags)
        for variant, package in ((CHALLENGER, models.challenger), (SHADOW, models.shadow))
        if package is not None
    }
    names = {VARIANT: main["ModelName"], **{variant: model["ModelName"] for variant, model in beside.items()}}
    production, shadows = (
        [{**variant, **(models.main.kind.hosting if "InstanceType" in variant else {})} for variant in variants]
        for variants in _variants(request, names)
    )
    capture = _capture(request, place)
    most = request.scaling.max_instances if request.scaling else None
    # of an endpoint as simple as can be the name is of what it always was
    content = [names[VARIANT], *production, *filter(None, (shadows, capture, most))]
    config: dict[str, Any] = {
        "EndpointConfigName": f"{name}-{_short(content)}",
        "ProductionVariants": production,
        "Tags": [*tags, *_origin(request, models)],
    }
    if shadows:
        config["ShadowProductionVariants"] = shadows
    if capture:
        config["DataCaptureConfig"] = capture
    return Desired(
        name,
        main["ModelName"],
        config["EndpointConfigName"],
        main,
        config,
        hourly,
        others=tuple(model for model in beside.values() if model["ModelName"] != main["ModelName"]),
        alarms=desired_alarms(name, request.rollout, [one["VariantName"] for one in production]),
        rollout=request.rollout,
        scaling=request.scaling,
        lifetime=request.lifetime,
        tags=request.tags,
        keep_versions=request.keep_versions,
        force=request.force,
        installation=place.installation,
    )


def approve_hosting(choices: EndpointChoices, prices: PriceList, region: str) -> Decimal:
    """US dollars an hour at most. Raises UnknownPriceError, and OverBudgetError when that is more than was approved."""
    hourly = hourly_cost(choices, prices, region)
    if hourly <= choices.max_hourly_cost:
        return hourly
    count = choices.scaling.max_instances if choices.scaling else choices.instance_count
    what = f"{count} × {choices.instance_type}"
    fitting = [
        kind
        for kind in prices.instance_types("hosting", region)
        if hourly_cost(choices.model_copy(update={"instance_type": kind}), prices, region) <= choices.max_hourly_cost
    ]
    if choices.serverless:
        busy, fitting = choices.serverless, []
        what = f"{busy.max_concurrency} serverless places of {busy.memory_mb} MB, all taken,"
    beside = [name for name, one in zip((CHALLENGER, SHADOW), _beside(choices), strict=True) if one]
    raise OverBudgetError(
        " with as much for a ".join([f"Serving on {what}", *beside]),
        f"${hourly} an hour",
        choices.max_hourly_cost,
        fitting[-3:],
        f"raise max_hourly_cost to at least ${rounded_up(hourly)}",
        stands=f"max_hourly_cost is ${choices.max_hourly_cost}",
    )


def hourly_cost(choices: EndpointChoices, prices: PriceList, region: str) -> Decimal:
    """US dollars an hour at most: all instances autoscaling may add, a challenger's and a shadow's. Raises UnknownPriceError."""
    production, shadows = _variants(choices, {VARIANT: "", CHALLENGER: "", SHADOW: ""})
    most = choices.scaling.max_instances if choices.scaling else None
    return variants_rate(prices, [*production, *shadows], region, most)


def _model(name: str, package: ModelPackage, place: Place, tags: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    container = {
        "Image": place.image_uri,
        "ModelDataUrl": package.uri,
        "Environment": {
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
            "SAGEMAKER_REGION": place.region,
            **package.kind.environment,
        },
    }
    return {
        "ModelName": f"{name}-{_short([package.sha256, container, place.role_arn])}",
        "PrimaryContainer": container,
        "ExecutionRoleArn": place.role_arn,
        "Tags": list(tags),
    }


def _variants(choices: EndpointChoices, models: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Those that answer, by their shares of the requests, and the shadow; each on as many instances."""
    challenger, shadow = _beside(choices)
    share = challenger.traffic_percent / 100 if challenger else 0.0
    production = [_variant(choices, VARIANT, models[VARIANT], round(1 - share, 2))]
    if challenger:
        production.append(_variant(choices, CHALLENGER, models[CHALLENGER], share))
    copied = shadow.sampling_percent / 100 if shadow else 0.0  # of the main variant's weight, which is 1
    return production, [_variant(choices, SHADOW, models[SHADOW], copied)] if shadow else []


def _variant(choices: EndpointChoices, name: str, model_name: str, weight: float) -> dict[str, Any]:
    variant: dict[str, Any] = {"VariantName": name, "ModelName": model_name, "InitialVariantWeight": weight}
    if choices.serverless:
        variant["ServerlessConfig"] = {
            "MemorySizeInMB": choices.serverless.memory_mb,
            "MaxConcurrency": choices.serverless.max_concurrency,
        }
        return variant
    count, scaling = choices.instance_count, choices.scaling
    if scaling:
        count = min(max(count, scaling.min_instances), scaling.max_instances)
    return {**variant, "InstanceType": choices.instance_type, "InitialInstanceCount": count}


def _beside(choices: EndpointChoices) -> tuple[Challenger | None, Shadow | None]:
    return (choices.challenger, choices.shadow) if isinstance(choices, EndpointRequest) else (None, None)


def _capture(request: EndpointRequest, place: Place) -> dict[str, Any] | None:
    """Requests and answers of JSON and CSV as they are, so that anybody can read them in S3."""
    if not request.capture_percent:
        return None
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": request.capture_percent,
        "DestinationS3Uri": f"s3://{place.bucket}/{CAPTURED}",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
    }


def _origin(request: EndpointRequest, models: ChosenModels) -> list[dict[str, str]]:
    """What the configuration's tags say of the main model, so that it can be found, proven and gone back to later.

    An address that a tag cannot hold is left out; AWS says it of the model too.
    """
    told = {
        MODEL_URI_TAG: models.main.uri,
        SHA256_TAG: models.main.sha256,
        PACKAGE_TAG: models.arn,
        DATA_TAG: request.data_classification,
        SCALING_TAG: scaling_tag(request.scaling) if request.scaling else "",
    }
    return [{"Key": key, "Value": value} for key, value in told.items() if value and _TAG.fullmatch(value)]


def _short(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
