"""What InvokeEndpoint answers: the model's answer, or an error worded and shaped as AWS's."""

from __future__ import annotations

from trainmaster.embedded.sagemaker import wire
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.serving.instance import Answer
from trainmaster.embedded.sagemaker.serving.invocation import Invocation, InvocationAnswer
from trainmaster.embedded.sagemaker.wire import AwsError

LARGEST_BODY: int = wire.service_model("sagemaker-runtime").shape_for("BodyBlob").metadata["max"]
"""Bytes. AWS has begun to take 25 MB; what fits here fits there."""
CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"

TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review the latency metrics for each "
    "container in Amazon CloudWatch, resolve the issue, and try again."
)
CRASHED = (
    "Amazon SageMaker could not get a response from the {endpoint} endpoint. This can occur when CPU or memory utilization "
    "is high. To check your utilization, see Amazon CloudWatch. To fix this problem, use an instance type with more CPU "
    "capacity or memory."
)


def check_size(invocation: Invocation) -> None:
    if len(invocation.body) > LARGEST_BODY:
        raise AwsError(
            "ValidationError",
            "1 validation error detected: Value at 'body' failed to satisfy constraint: "
            f"Member must have length less than or equal to {LARGEST_BODY}",
        )


def headers(invocation: Invocation) -> dict[str, str]:
    """What AWS passes on to the container."""
    given = {
        "Content-Type": invocation.content_type,
        "Accept": invocation.accept,
        CUSTOM_ATTRIBUTES: invocation.custom_attributes,
        "X-Amzn-SageMaker-Inference-Id": invocation.inference_id,
    }
    return {key: value for key, value in given.items() if value}


def answered(account: Account, endpoint: str, answer: Answer, variant: str) -> InvocationAnswer:
    """Raises ModelError when the model's status is not one of success."""
    if not 200 <= answer.status < 300:
        raise model_error(account, endpoint, answer.status, answer.body.decode(errors="replace"))
    content_type = answer.headers.get("content-type", "application/octet-stream")
    return InvocationAnswer(answer.body, content_type, variant, answer.headers.get(CUSTOM_ATTRIBUTES.lower()))


def model_error(account: Account, endpoint: str, status: int, message: str) -> AwsError:
    """Status 0 stands for no answer at all, as on AWS."""
    group = f"/aws/sagemaker/Endpoints/{endpoint}"
    console = f"https://{account.region}.console.aws.amazon.com/cloudwatch/home?region={account.region}"
    return AwsError(
        "ModelError",
        f'Received {"client" if 400 <= status < 500 else "server"} error ({status}) from primary with message "{message}". '
        f"See {console}#logEventViewer:group={group} in account {account.account_id} for more information.",
        status=424,
        OriginalStatusCode=status,
        OriginalMessage=message,
        LogStreamArn=f"arn:aws:logs:{account.region}:{account.account_id}:log-group:{group}",
    )


def not_serving(account: Account, endpoint: str) -> AwsError:
    return AwsError("ValidationError", f"Endpoint {endpoint} of account {account.account_id} not found.")


def unknown_variant(endpoint: str, variant: str) -> AwsError:
    return AwsError("ValidationError", f"Variant {variant} not found for endpoint {endpoint}.")


def unavailable(endpoint: str) -> AwsError:
    return AwsError("ServiceUnavailable", f"Endpoint {endpoint} has no healthy instance; try again.", status=503)


def throttled(endpoint: str, variant: str) -> AwsError:
    return AwsError(
        "ThrottlingException",
        f"Rate exceeded: variant {variant} of endpoint {endpoint} has as many invocations under way as its MaxConcurrency.",
        status=429,
    )
