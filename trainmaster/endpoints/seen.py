"""Endpoints as AWS has them now: what serves, on which machines, at which price, until when, and what can be gone back to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trainmaster.endpoints.deploying import find_config, find_endpoint, find_model, is_ours, tags_of
from trainmaster.endpoints.plan import (
    DEPLOYED_TAG,
    ENDPOINT_TAG,
    EXPIRES_TAG,
    IDLE_TAG,
    MODEL_URI_TAG,
    PACKAGE_TAG,
    PROOF_TAG,
    SHA256_TAG,
    WHEN_OVER_TAG,
    hosting_rate,
)
from trainmaster.errors import UnknownChoiceError, UnknownPriceError
from trainmaster.training.desk import Desk

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

LONG_AGO = datetime.min.replace(tzinfo=UTC)
_NAMED = 8  # of the endpoints there are, where another was asked for


@dataclass(frozen=True)
class Version:
    """A configuration that was made for an endpoint: what it serves, since when, and whether it has proven itself."""

    config: str
    model_uri: str
    sha256: str
    package: str
    deployed_at: datetime | None
    proof: str
    made_at: datetime | None = None

    @property
    def is_proven(self) -> bool:
        """Whether it has answered a smoke test, so that it can be gone back to."""
        return self.proof in {"proven", "again"}


@dataclass(frozen=True)
class Serving:
    """One variant of what serves: its model, the share of the traffic it answers, and on what. A shadow answers none.

    `instance_type` is "" where it is serverless, with `memory_mb` and `concurrency` instead.
    """

    variant: str
    model: str
    model_uri: str
    share: float
    instance_type: str = ""
    instances: int = 0
    wanted_instances: int = 0
    memory_mb: int = 0
    concurrency: int = 0

    @property
    def machines(self) -> str:
        if not self.instance_type:
            return f"serverless, {self.memory_mb:,} MB, {self.concurrency} at once"
        becoming = f", becoming {self.wanted_instances}" if self.wanted_instances != self.instances else ""
        return f"{self.instances} × {self.instance_type}{becoming}"


@dataclass(frozen=True)
class SeenEndpoint:
    """An endpoint at one moment. `hourly` is None where nobody can say: something is serverless, or has no known price."""

    name: str
    arn: str
    status: str
    config: str
    created_at: datetime
    changed_at: datetime
    failure: str
    variants: Sequence[Serving]
    version: Version
    hourly: Decimal | None
    capture_uri: str
    expires: datetime | None
    idle_minutes: int | None
    when_over: str


def see_endpoint(desk: Desk, name: str) -> SeenEndpoint:
    """One endpoint of Trainmaster's. Raises UnknownChoiceError when there is none of that name."""
    sagemaker = desk.client("sagemaker")
    endpoint = find_endpoint(sagemaker, name)
    if endpoint is None or not is_ours(sagemaker, endpoint["EndpointArn"], name):
        raise UnknownChoiceError(_unknown(sagemaker, name))
    return _seen(desk, endpoint)


def hourly_of(desk: Desk, name: str) -> Decimal | None:
    """What an hour of it costs now: $0 where there is none of that name, None where nobody can say."""
    sagemaker = desk.client("sagemaker")
    endpoint = find_endpoint(sagemaker, name)
    if endpoint is None:
        return Decimal(0)
    config = find_config(sagemaker, endpoint["EndpointConfigName"]) or {}
    return _hourly(desk, list(_variants(sagemaker, endpoint, config)))


def endpoint_names(sagemaker: SageMakerClient) -> Iterator[str]:
    """Those that Trainmaster made, in this account and region, by name."""
    pages = sagemaker.get_paginator("list_endpoints").paginate(SortBy="Name", SortOrder="Ascending")
    for page in pages:
        for one in page["Endpoints"]:
            if is_ours(sagemaker, one["EndpointArn"], one["EndpointName"]):
                yield one["EndpointName"]


def seen_endpoints(desk: Desk) -> Iterator[SeenEndpoint]:
    """All that Trainmaster made, in this account and region, by name; one that vanishes meanwhile is left out."""
    for name in endpoint_names(desk.client("sagemaker")):
        endpoint = find_endpoint(desk.client("sagemaker"), name)
        if endpoint:
            yield _seen(desk, endpoint)


def versions_of(sagemaker: SageMakerClient, endpoint_name: str) -> list[Version]:
    """Every configuration that is kept for an endpoint, whether it is there or not; the one deployed last comes first."""
    found = []
    for page in sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=endpoint_name):
        for one in page["EndpointConfigs"]:
            tags = tags_of(sagemaker, one["EndpointConfigArn"])
            if tags.get(ENDPOINT_TAG) == endpoint_name:
                found.append(replace(_version(one["EndpointConfigName"], tags), made_at=one["CreationTime"]))
    return sorted(found, key=lambda version: version.deployed_at or version.made_at or LONG_AGO, reverse=True)


def _unknown(sagemaker: SageMakerClient, name: str) -> str:
    there = list(endpoint_names(sagemaker))
    more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
    said = f"There are: {', '.join(there[:_NAMED])}{more}." if there else "There is none at all."
    return f"There is no endpoint {name} of Trainmaster's. {said}"


def _seen(desk: Desk, endpoint: Mapping[str, Any]) -> SeenEndpoint:
    sagemaker = desk.client("sagemaker")
    name, config_name = endpoint["EndpointName"], endpoint["EndpointConfigName"]
    config = find_config(sagemaker, config_name) or {}
    tags = tags_of(sagemaker, endpoint["EndpointArn"])
    of_config = tags_of(sagemaker, config["EndpointConfigArn"]) if config else {}
    variants = list(_variants(sagemaker, endpoint, config))
    capture = config.get("DataCaptureConfig", {})
    return SeenEndpoint(
        name=name,
        arn=endpoint["EndpointArn"],
        status=endpoint["EndpointStatus"],
        config=config_name,
        created_at=endpoint["CreationTime"],
        changed_at=endpoint["LastModifiedTime"],
        failure=endpoint.get("FailureReason", ""),
        variants=variants,
        version=_version(config_name, of_config),
        hourly=_hourly(desk, variants),
        capture_uri=capture.get("DestinationS3Uri", "") if capture.get("EnableCapture", True) else "",
        expires=_moment(tags.get(EXPIRES_TAG)),
        idle_minutes=int(tags[IDLE_TAG]) if tags.get(IDLE_TAG) else None,
        when_over=tags.get(WHEN_OVER_TAG, ""),
    )


def _variants(sagemaker: SageMakerClient, endpoint: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Serving]:
    now = {one["VariantName"]: one for one in endpoint.get("ProductionVariants", [])}
    shadows = {one["VariantName"]: one for one in endpoint.get("ShadowProductionVariants", [])}
    production = config.get("ProductionVariants", [])
    weights = {one["VariantName"]: _weight(one, now.get(one["VariantName"], {})) for one in production}
    for one in production:
        share = weights[one["VariantName"]] / (sum(weights.values()) or 1.0)
        yield _serving(sagemaker, one, now.get(one["VariantName"], {}), share)
    for one in config.get("ShadowProductionVariants", []):
        yield _serving(sagemaker, one, shadows.get(one["VariantName"], {}), 0.0)


def _serving(sagemaker: SageMakerClient, wanted: Mapping[str, Any], now: Mapping[str, Any], share: float) -> Serving:
    model = find_model(sagemaker, wanted["ModelName"]) or {}
    uri = model.get("PrimaryContainer", {}).get("ModelDataUrl", "")
    serverless = wanted.get("ServerlessConfig")
    if serverless:
        return Serving(
            wanted["VariantName"],
            wanted["ModelName"],
            uri,
            share,
            memory_mb=serverless["MemorySizeInMB"],
            concurrency=serverless["MaxConcurrency"],
        )
    first = wanted["InitialInstanceCount"]
    return Serving(
        wanted["VariantName"],
        wanted["ModelName"],
        uri,
        share,
        wanted["InstanceType"],
        now.get("CurrentInstanceCount", first),
        now.get("DesiredInstanceCount", first),
    )


def _weight(wanted: Mapping[str, Any], now: Mapping[str, Any]) -> float:
    return float(now.get("CurrentWeight", wanted.get("InitialVariantWeight", 1.0)))


def _hourly(desk: Desk, variants: Sequence[Serving]) -> Decimal | None:
    if not variants or not all(one.instance_type for one in variants):
        return None
    try:
        return hosting_rate(desk.prices, [(one.instance_type, one.instances) for one in variants], desk.settings.region)
    except UnknownPriceError:
        return None


def _version(config: str, tags: Mapping[str, str]) -> Version:
    return Version(
        config,
        tags.get(MODEL_URI_TAG, ""),
        tags.get(SHA256_TAG, ""),
        tags.get(PACKAGE_TAG, ""),
        _moment(tags.get(DEPLOYED_TAG)),
        tags.get(PROOF_TAG, ""),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
