"""Does a fresh endpoint really answer? InService says only that its container answered a ping."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from trainmaster.aws.failures import code_of
from trainmaster.endpoints.package import ModelPackage
from trainmaster.errors import DeploymentFailedError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient


class SmokeTest(BaseModel):
    """What was asked and answered: inputs by feature, the endpoint's answer, and how long each call took (ms)."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    inputs: dict[str, float]
    answer: dict[str, Any]
    milliseconds: list[float]


def sample_inputs(card: Mapping[str, Any]) -> dict[str, float]:
    """A typical house: every feature at its mean over the training rows, rounded to a whole number."""
    return {name: round(feature["mean"]) for name, feature in card["features"].items()}


def smoke_test(
    runtime: SageMakerRuntimeClient, endpoint_name: str, package: ModelPackage, *, calls: int = 3
) -> SmokeTest:
    """Ask a few times; raises DeploymentFailedError unless every answer is a plausible prediction of this model version."""
    inputs = sample_inputs(package.card)
    took: list[float] = []
    for _ in range(calls):
        began = time.perf_counter()
        answer = invoke(runtime, endpoint_name, inputs)
        took.append(round((time.perf_counter() - began) * 1000, 1))
        if problem := implausible(answer, package.card):
            raise DeploymentFailedError(
                f"Endpoint {endpoint_name} was asked for {inputs} and answered {answer}: {problem}."
            )
    return SmokeTest(inputs=inputs, answer=answer, milliseconds=took)


def invoke(runtime: SageMakerRuntimeClient, endpoint_name: str, inputs: Mapping[str, float]) -> dict[str, Any]:
    """One prediction. Raises DeploymentFailedError with the model's own words when it fails; AWS's own errors as they are."""
    try:
        response = runtime.invoke_endpoint(
            EndpointName=endpoint_name,
            ContentType="application/json",
            Accept="application/json",
            Body=json.dumps(inputs),
        )
    except ClientError as error:
        if code_of(error) != "ModelError":
            raise
        said = error.response.get("OriginalMessage") or error.response["Error"]["Message"]
        raise DeploymentFailedError(
            f"Endpoint {endpoint_name} was asked for {dict(inputs)} and failed: {said}"
        ) from error
    body = response["Body"].read()
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise DeploymentFailedError(f"Endpoint {endpoint_name} answered {body[:200]!r}, which is not a JSON object.")
    return answer


def implausible(answer: Mapping[str, Any], card: Mapping[str, Any]) -> str | None:
    """What is wrong with an answer, or None. A price far outside what the model was trained on is wrong."""
    price = answer.get("predicted_price")
    if isinstance(price, bool) or not isinstance(price, int | float) or not math.isfinite(price):
        return "predicted_price is not a number"
    version = card.get("model_version")
    if version is not None and answer.get("model_version") != version:
        return f"model_version should be {version}"
    bounds = card.get("target", {})
    low, high = 0.0, float(bounds.get("max", math.inf)) * 3
    return None if low <= price <= high else f"predicted_price should lie between {low:.0f} and {high:.0f}"
