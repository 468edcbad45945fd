"""Does a fresh endpoint really answer, and as the training did? InService says only that its container answered a ping."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from trainmaster.aws.failures import code_of
from trainmaster.endpoints.models.kinds.choosing import kind_of
from trainmaster.endpoints.models.kinds.kind import Agreement
from trainmaster.endpoints.models.package import ModelPackage
from trainmaster.errors import DeploymentFailedError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient
    from mypy_boto3_sagemaker_runtime.type_defs import InvokeEndpointInputTypeDef

PROOF_ID = "trainmaster-proof"
"""The inference id of our own requests: among what was captured they are not what anybody asked for."""


class SmokeTest(BaseModel):
    """What was asked and answered: a typical request, the endpoint's answer, how long each call took (ms), and the agreement
    with the training's own answers."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    inputs: dict[str, Any]
    answer: dict[str, Any]
    milliseconds: list[float]
    agreement: Agreement = Agreement(examples=0)


def sample_inputs(card: Mapping[str, Any]) -> dict[str, Any]:
    """What is typically asked of a model with this card."""
    return kind_of(card).sample(card)


def smoke_test(
    runtime: SageMakerRuntimeClient,
    endpoint_name: str,
    package: ModelPackage,
    *,
    variant: str | None = None,
    calls: int = 3,
    longest_milliseconds: float | None = None,
) -> SmokeTest:
    """Ask what is typical a few times, then each of the artifact's examples; of one variant where it is named.

    Raises DeploymentFailedError unless every answer is a plausible one of this model version, half of them come in time, which is
    the kind's unless another is given, and each example is answered as in training.
    """
    kind = package.kind
    inputs, longest = kind.sample(package.card), longest_milliseconds or kind.longest_milliseconds
    asked = [inputs] * calls + [dict(example.inputs) for example in package.smoke]
    answers: list[dict[str, Any]] = []
    took: list[float] = []
    for one in asked:
        began = time.perf_counter()
        answer = invoke(runtime, endpoint_name, one, variant=variant, inference_id=PROOF_ID)
        took.append(round((time.perf_counter() - began) * 1000, 1))
        answers.append(answer)
        if problem := kind.implausible(answer, package.card):
            raise DeploymentFailedError(
                f"{_called(endpoint_name, variant)} was asked for {one} and answered {answer}: {problem}."
            )
    if (usual := statistics.median(took)) > longest:
        raise DeploymentFailedError(
            f"{_called(endpoint_name, variant)} takes {usual:,.0f} ms for half of {len(took)} answers or longer;"
            f" at most {longest:,.0f} ms are accepted. Serve it on a faster instance type."
        )
    agreement = kind.agreement(_called(endpoint_name, variant), package.smoke, answers[calls:])
    return SmokeTest(inputs=inputs, answer=answers[0], milliseconds=took, agreement=agreement)


def invoke(
    runtime: SageMakerRuntimeClient,
    endpoint_name: str,
    inputs: Mapping[str, Any],
    *,
    variant: str | None = None,
    inference_id: str = "",
) -> dict[str, Any]:
    """One answer. Raises DeploymentFailedError with the model's own words when it fails; AWS's own errors as they are."""
    request: InvokeEndpointInputTypeDef = {
        "EndpointName": endpoint_name,
        "ContentType": "application/json",
        "Accept": "application/json",
        "Body": json.dumps(dict(inputs)),
    }
    if variant:
        request["TargetVariant"] = variant
    if inference_id:
        request["InferenceId"] = inference_id
    try:
        response = runtime.invoke_endpoint(**request)
    except ClientError as error:
        if code_of(error) != "ModelError":
            raise
        said = _words_of(str(error.response.get("OriginalMessage") or error.response["Error"]["Message"]))
        did = "refused it" if 400 <= int(error.response.get("OriginalStatusCode") or 0) < 500 else "failed"  # type: ignore[call-overload]
        raise DeploymentFailedError(
            f"{_called(endpoint_name, variant)} was asked for {dict(inputs)} and {did}: {said}"
        ) from error
    body = response["Body"].read()
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise DeploymentFailedError(
            f"{_called(endpoint_name, variant)} answered {body[:200]!r}, which is not a JSON object."
        )
    return answer


def _words_of(message: str) -> str:
    """The sentence for people, where the model answered with one; else all it said."""
    try:
        error = json.loads(message)["error"]
    except (ValueError, KeyError, TypeError):
        return message
    return error if isinstance(error, str) else message


def _called(endpoint_name: str, variant: str | None) -> str:
    return f"Variant {variant} of endpoint {endpoint_name}" if variant else f"Endpoint {endpoint_name}"
