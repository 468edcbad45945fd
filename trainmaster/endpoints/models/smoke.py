"""Does a fresh endpoint really answer, and as the training did? InService says only that its container answered a ping."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from trainmaster.aws.failures import code_of
from trainmaster.endpoints.models.package import Example, ModelPackage
from trainmaster.errors import DeploymentFailedError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient
    from mypy_boto3_sagemaker_runtime.type_defs import InvokeEndpointInputTypeDef

PROOF_ID = "trainmaster-proof"
"""The inference id of our own requests: among what was captured they are not what anybody asked for."""
TOLERATED_DOLLARS = 1.0
TOLERATED_SHARE = 1e-4
"""Of the training's own prediction; the larger of the two is tolerated. Answers are whole dollars, and libraries round differently."""
LONGEST_MILLISECONDS = 2000.0
"""Half of the answers may take longer: the first ones of a container do."""
SHOWN = 3


class Agreement(BaseModel):
    """How near the endpoint's answers are to what the training predicted; `houses` is 0 where it left no predictions."""

    model_config = ConfigDict(frozen=True)

    houses: int
    furthest: float = 0.0
    """US dollars between the answer and the prediction of the house they differ most on."""

    def sentence(self) -> str:
        if not self.houses:
            return "not checked: the artifact has no smoke_test.json; it answers in the right form and range"
        return (
            f"{self.houses} held-out houses are priced as in training, at most ${self.furthest:,.2f} off"
            f" (${TOLERATED_DOLLARS:.0f} or {TOLERATED_SHARE:.2%} is tolerated)"
        )


class SmokeTest(BaseModel):
    """What was asked and answered: inputs by feature, the endpoint's answer, how long each call took (ms), and the agreement
    with the training's own predictions."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    inputs: dict[str, float]
    answer: dict[str, Any]
    milliseconds: list[float]
    agreement: Agreement = Agreement(houses=0)


def sample_inputs(card: Mapping[str, Any]) -> dict[str, float]:
    """A typical house: every feature at its mean over the training rows, rounded to a whole number."""
    return {name: round(feature["mean"]) for name, feature in card["features"].items()}


def smoke_test(
    runtime: SageMakerRuntimeClient,
    endpoint_name: str,
    package: ModelPackage,
    *,
    variant: str | None = None,
    calls: int = 3,
    longest_milliseconds: float = LONGEST_MILLISECONDS,
) -> SmokeTest:
    """Ask for a typical house a few times, then for each of the artifact's examples; of one variant where it is named.

    Raises DeploymentFailedError unless every answer is a plausible prediction of this model version, half of them come in time,
    and each example is priced as in training.
    """
    inputs = sample_inputs(package.card)
    asked = [inputs] * calls + [dict(example.inputs) for example in package.smoke]
    answers: list[dict[str, Any]] = []
    took: list[float] = []
    for one in asked:
        began = time.perf_counter()
        answer = invoke(runtime, endpoint_name, one, variant=variant, inference_id=PROOF_ID)
        took.append(round((time.perf_counter() - began) * 1000, 1))
        answers.append(answer)
        if problem := implausible(answer, package.card):
            raise DeploymentFailedError(
                f"{_called(endpoint_name, variant)} was asked for {one} and answered {answer}: {problem}."
            )
    if (usual := statistics.median(took)) > longest_milliseconds:
        raise DeploymentFailedError(
            f"{_called(endpoint_name, variant)} takes {usual:,.0f} ms for half of {len(took)} answers or longer;"
            f" at most {longest_milliseconds:,.0f} ms are accepted. Serve it on a faster instance type."
        )
    agreement = _agreement(_called(endpoint_name, variant), package.smoke, answers[calls:])
    return SmokeTest(inputs=inputs, answer=answers[0], milliseconds=took, agreement=agreement)


def invoke(
    runtime: SageMakerRuntimeClient,
    endpoint_name: str,
    inputs: Mapping[str, float],
    *,
    variant: str | None = None,
    inference_id: str = "",
) -> dict[str, Any]:
    """One prediction. Raises DeploymentFailedError with the model's own words when it fails; AWS's own errors as they are."""
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


def implausible(answer: Mapping[str, Any], card: Mapping[str, Any]) -> str | None:
    """What is wrong with an answer, or None. A price far outside what the model was trained on is wrong."""
    price = answer.get("predicted_price")
    if isinstance(price, bool) or not isinstance(price, int | float) or not math.isfinite(price):
        return "predicted_price is not a number"
    version = card.get("model_version")
    if version is not None and answer.get("model_version") != version:
        return f"model_version should be {version}"
    if "timestamp" in answer and not _is_moment(answer["timestamp"]):
        return "timestamp is no time of ISO 8601 with its zone"
    bounds = card.get("target", {})
    low, high = 0.0, float(bounds.get("max", math.inf)) * 3
    return None if low <= price <= high else f"predicted_price should lie between {low:.0f} and {high:.0f}"


def tolerated(predicted: float) -> float:
    """How many dollars an answer may be off what the training predicted."""
    return max(TOLERATED_DOLLARS, abs(predicted) * TOLERATED_SHARE)


def _agreement(subject: str, examples: tuple[Example, ...], answers: list[dict[str, Any]]) -> Agreement:
    off = [
        (abs(answer["predicted_price"] - example.predicted_price), example, answer["predicted_price"])
        for example, answer in zip(examples, answers, strict=True)
    ]
    apart = [one for one in off if one[0] > tolerated(one[1].predicted_price)]
    if apart:
        shown = "; ".join(
            f"{dict(example.inputs)} at ${price:,.0f}, in training ${example.predicted_price:,.0f}"
            for _, example, price in apart[:SHOWN]
        )
        raise DeploymentFailedError(
            f"{subject} prices {len(apart)} of {len(off)} held-out houses otherwise than its training did: {shown}."
            f" ${TOLERATED_DOLLARS:.0f} or {TOLERATED_SHARE:.2%} is tolerated: what serves is not what was measured."
        )
    return Agreement(houses=len(off), furthest=max((one[0] for one in off), default=0.0))


def _is_moment(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _called(endpoint_name: str, variant: str | None) -> str:
    return f"Variant {variant} of endpoint {endpoint_name}" if variant else f"Endpoint {endpoint_name}"
