"""An endpoint's public API in AWS: its stack described, changed, waited for and removed. Every function is safe to repeat."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from trainmaster.aws.failures import code_of, status_of
from trainmaster.aws.polling import Patience, answers
from trainmaster.endpoints.api.plan import (
    CONTENT_TAG,
    DELETABLE,
    READY,
    ApiStep,
    DescribedApi,
    DesiredApi,
    code_prefix,
    refuse_foreign,
    stack_name,
)
from trainmaster.endpoints.deploying import find_endpoint, is_ours
from trainmaster.endpoints.plan import ENDPOINT_TAG
from trainmaster.errors import DeploymentFailedError, NameConflictError, UnknownChoiceError, WaitTimedOutError

Found = Mapping[str, Any] | None
OnStatus = Callable[[str], None]
MOST_EVENTS = 10
"""Pages of a stack's events, the newest first, in which the reason of a failure is looked for."""


class PublishedApi(BaseModel):
    """An API that answers: where, and what was done to get there. Its key is not in here: `trainmaster endpoints key` shows it."""

    model_config = ConfigDict(frozen=True)

    endpoint_name: str
    stack_name: str
    url: str
    steps: list[str]
    example: str
    drifted: bool = False

    def sentence(self) -> str:
        drifted = (
            " AWS found it changed by hand; withdraw it and publish it again to undo that." if self.drifted else ""
        )
        return f"Endpoint {self.endpoint_name} answers at POST {self.url}.{drifted}"

    @property
    def ask_command(self) -> str:
        """What asks the API for a typical prediction, by a key that only the command in it shows."""
        return (
            f"curl -H \"x-api-key: $(trainmaster endpoints key {self.endpoint_name})\" -H 'Content-Type: application/json'"
            f" -d {shlex.quote(self.example)} {shlex.quote(self.url)}"
        )

    def markdown(self) -> str:
        """Where it answers and how it is asked, for a page."""
        return f"{self.sentence()}\n\n```bash\n{self.ask_command}\n```"


class PlannedApi(BaseModel):
    """What publishing would do."""

    model_config = ConfigDict(frozen=True)

    stack_name: str
    steps: list[str]

    def sentence(self) -> str:
        return f"{self.stack_name} would need: {'; '.join(self.steps) or 'nothing, it is published already'}."


class Withdrawal(BaseModel):
    """What was removed of an API, or would be."""

    model_config = ConfigDict(frozen=True)

    endpoint_name: str
    stack: str | None
    code: list[str]
    removed: bool

    def sentence(self) -> str:
        what = [f"stack {self.stack}"] if self.stack else []
        what += [f"{count} version{'' if count == 1 else 's'} of its code"] if (count := len(self.code)) else []
        if not what:
            return f"Endpoint {self.endpoint_name} has no public API."
        done = "Removed" if self.removed else "Would remove"
        return f"{done} {' and '.join(what)}. Its endpoint stays." + (
            "" if self.removed else " Turn dry_run off, or give --yes, to do it."
        )


def endpoint_arn(sagemaker: Any, endpoint_name: str) -> str:
    """Of an endpoint of ours. Raises UnknownChoiceError where there is none, NameConflictError for somebody else's."""
    endpoint = find_endpoint(sagemaker, endpoint_name)
    if endpoint is None:
        raise UnknownChoiceError(f"There is no endpoint {endpoint_name} to publish. Deploy it first (deploy-endpoint).")
    if not is_ours(sagemaker, endpoint["EndpointArn"], endpoint_name):
        raise NameConflictError(f"Endpoint {endpoint_name} was not made by Trainmaster, which publishes only its own.")
    return str(endpoint["EndpointArn"])


def served_artifact(sagemaker: Any, endpoint_name: str) -> str:
    """The S3 URI of the artifact its first production variant serves."""
    endpoint = sagemaker.describe_endpoint(EndpointName=endpoint_name)
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    model = sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    return str(model["PrimaryContainer"]["ModelDataUrl"])


def may_log_accesses(api_gateway: Any) -> bool:
    """Whether the account has given API Gateway a role to write logs with; a stage that wants to is refused without."""
    return bool(api_gateway.get_account().get("cloudwatchRoleArn"))


def find_stack(cloudformation: Any, name: str) -> Found:
    """DescribeStacks' answer, or None when there is no such stack."""
    try:
        stacks = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if (
            code_of(error) == "ValidationError" and status_of(error) == 400
        ):  # of a name that is well-formed: it is not there
            return None
        raise
    found: Mapping[str, Any] = stacks[0]
    return None if found["StackStatus"] == "DELETE_COMPLETE" else found


def settle_stack(
    cloudformation: Any,
    name: str,
    patience: Patience,
    *,
    on_status: OnStatus = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Found:
    """Wait until AWS no longer changes the stack; its description then, or None when it is gone."""
    status = "unknown, since AWS could not be asked"
    for stack in answers(lambda: find_stack(cloudformation, name), patience, sleep=sleep):
        status = stack["StackStatus"] if stack else "not there"
        on_status(status)
        if not status.endswith("_IN_PROGRESS") or status in DELETABLE:
            return stack
    raise WaitTimedOutError(
        f"Stack {name} did not settle within {patience.longest_seconds:.0f} s; it is {status}. AWS goes on by itself: run"
        " this again to look after it."
    )


def public_url(cloudformation: Any, endpoint_name: str, api_url: str, region: str) -> str:
    """Where an endpoint's API answers, by the template of the settings; "" where it has none, or one that does not answer."""
    stack = find_stack(cloudformation, stack_name(endpoint_name))
    if stack is None or stack["StackStatus"] not in READY:
        return ""
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    return f"{api_url.format(id=outputs['ApiId'], region=region, stage=outputs['Stage'])}/predict"


def describe_api(stack: Found, desired: DesiredApi, s3: Any) -> DescribedApi:
    """What AWS has of what is desired."""
    return described_stack(stack, desired.endpoint_name, has_code=_has_object(s3, desired))


def described_stack(stack: Found, endpoint_name: str, *, has_code: bool = False) -> DescribedApi:
    """What a stack says of itself."""
    if stack is None:
        return DescribedApi(has_code=has_code)
    tags = {tag["Key"]: tag["Value"] for tag in stack.get("Tags", [])}
    return DescribedApi(
        status=stack["StackStatus"],
        content=tags.get(CONTENT_TAG),
        ours=tags.get(ENDPOINT_TAG) == endpoint_name,
        drifted=stack.get("DriftInformation", {}).get("StackDriftStatus") == "DRIFTED",
        has_code=has_code,
    )


def apply_api(cloudformation: Any, s3: Any, desired: DesiredApi, steps: list[ApiStep], patience: Patience) -> None:
    """Carry out the steps in order. What another run of the same plan did, or does, counts as done."""
    stack = {
        "StackName": desired.stack_name,
        "TemplateBody": desired.template,
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in desired.parameters.items()],
        "Capabilities": ["CAPABILITY_IAM"],
        "Tags": desired.tags,
    }
    for step in steps:
        match step.kind:
            case "upload-code":
                s3.put_object(Bucket=desired.parameters["CodeBucket"], Key=desired.code_key, Body=desired.code)
            case "delete-stack":
                delete_stack(cloudformation, step.name, patience)
            case "create-stack":
                _change(lambda: cloudformation.create_stack(**stack), cloudformation, desired)
            case "update-stack":
                _change(lambda: cloudformation.update_stack(**stack), cloudformation, desired)


def require_published(cloudformation: Any, stack: Found, desired: DesiredApi) -> dict[str, str]:
    """The outputs of the settled stack. Raises DeploymentFailedError, with AWS's reasons, unless it is what was asked for."""
    described = described_stack(stack, desired.endpoint_name)
    if stack is None:
        raise DeploymentFailedError(f"Stack {desired.stack_name} was deleted while it was being made.")
    if described.status not in READY or described.content != desired.content:
        reasons = " ".join(_reasons(cloudformation, stack["StackId"])) or "AWS gave no reason."
        after = (
            "what was published before still answers" if "UPDATE" in str(described.status) else "nothing is published"
        )
        raise DeploymentFailedError(f"Stack {desired.stack_name} is {described.status}; {after}. {reasons}")
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def delete_stack(cloudformation: Any, name: str, patience: Patience, *, on_status: OnStatus = lambda _: None) -> None:
    """Delete it and see it gone; nothing there is fine. Raises DeploymentFailedError when AWS keeps some of it."""
    stack = settle_stack(cloudformation, name, patience, on_status=on_status)
    if stack is None:
        return
    cloudformation.delete_stack(StackName=stack["StackId"])
    left = settle_stack(cloudformation, name, patience, on_status=on_status)
    if left is not None:
        reasons = " ".join(_reasons(cloudformation, left["StackId"])) or "AWS gave no reason."
        raise DeploymentFailedError(f"Stack {name} could not be deleted; it is {left['StackStatus']}. {reasons}")


def find_api(cloudformation: Any, s3: Any, endpoint_name: str, bucket: str) -> Withdrawal:
    """What there is of an endpoint's API. Raises NameConflictError for a stack that Trainmaster did not make."""
    name = stack_name(endpoint_name)
    stack = find_stack(cloudformation, name)
    refuse_foreign(name, described_stack(stack, endpoint_name))
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=code_prefix(endpoint_name))
    keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
    return Withdrawal(endpoint_name=endpoint_name, stack=name if stack else None, code=keys, removed=False)


def withdraw_api(
    cloudformation: Any, s3: Any, found: Withdrawal, bucket: str, patience: Patience, *, on_status: OnStatus
) -> None:
    """Remove the stack with all it made, its API key and logs among it, and the code in S3."""
    if found.stack:
        delete_stack(cloudformation, found.stack, patience, on_status=on_status)
    for key in found.code:
        s3.delete_object(Bucket=bucket, Key=key)


def _change(change: Callable[[], Any], cloudformation: Any, desired: DesiredApi) -> None:
    """Begin it, unless the stack's tags show that another run has, or that a call whose answer was lost had been heard."""
    try:
        change()
    except ClientError as error:
        stack = find_stack(cloudformation, desired.stack_name)
        if code_of(error) not in ("AlreadyExistsException", "ValidationError") or stack is None:
            raise
        described = described_stack(stack, desired.endpoint_name)
        if not described.ours or described.content != desired.content:
            raise


def _reasons(cloudformation: Any, stack_id: str) -> Iterator[str]:
    """Why the newest change failed, the first cause first."""
    found: list[str] = []
    pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack_id)
    for _, page in zip(range(MOST_EVENTS), pages, strict=False):
        for event in page["StackEvents"]:
            reason, status = event.get("ResourceStatusReason", ""), event["ResourceStatus"]
            if reason == "User Initiated" and status.endswith("_IN_PROGRESS"):
                return iter(reversed(found))
            if status.endswith("_FAILED") and reason and "cancelled" not in reason:
                found.append(f"{event['LogicalResourceId']}: {reason.rstrip('.')}.")
    return iter(reversed(found))


def _has_object(s3: Any, desired: DesiredApi) -> bool:
    try:
        s3.head_object(Bucket=desired.parameters["CodeBucket"], Key=desired.code_key)
    except ClientError as error:
        if status_of(error) == 404:
            return False
        raise
    return True
