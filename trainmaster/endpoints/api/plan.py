"""The public API of an endpoint as it should be, compared with the stack there is: a list of steps, and nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainmaster.endpoints.api.request import PublishRequest
from trainmaster.endpoints.models.kinds.choosing import HOUSE_PRICES, kind_of
from trainmaster.endpoints.plan import ENDPOINT_TAG
from trainmaster.errors import ModelRefusedError, NameConflictError, RefusedError

SOURCE = Path(__file__).parents[3] / "deployments" / "predict_api"
CONTENT_TAG = "trainmaster:content"
"""On a stack: the hash of everything it was made from."""
READY = {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
UPDATABLE = READY | {"UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
DELETABLE = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS"}
"""What never came to be, or is half gone: AWS lets it only be deleted."""

ApiStepKind = Literal["upload-code", "delete-stack", "create-stack", "update-stack"]
Accepted = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class ApiStep:
    """One change: what is done to which name."""

    kind: ApiStepKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.replace('-', ' ')} {self.name}"


@dataclass(frozen=True)
class DesiredApi:
    """The stack as it should be. Its content's hash is in a tag of it, its code's in the name of the object in S3."""

    endpoint_name: str
    stack_name: str
    template: str
    parameters: Mapping[str, str]
    content: str
    code_key: str
    code: bytes

    @property
    def tags(self) -> list[dict[str, str]]:
        values = {ENDPOINT_TAG: self.endpoint_name, CONTENT_TAG: self.content}
        return [{"Key": key, "Value": value} for key, value in values.items()]


@dataclass(frozen=True)
class DescribedApi:
    """The stack as AWS has it; `status` is None where there is none. `drifted` is what AWS last found, when it was asked to look."""

    status: str | None = None
    content: str | None = None
    ours: bool = True
    drifted: bool = False
    has_code: bool = False


def stack_name(endpoint_name: str) -> str:
    """Also the function's and the API's name; at most 58 characters."""
    return f"predict-{endpoint_name}"


def code_prefix(endpoint_name: str) -> str:
    """Where in the bucket the code of an endpoint's API lies."""
    return f"predict-api/{endpoint_name}/"


def accepted_ranges(card: Mapping[str, Any], uri: str) -> dict[str, tuple[float, float]]:
    """The lowest and highest value of each feature, from the model's card. Raises ModelRefusedError for a card without them, and for a
    model that prices no houses."""
    if (kind := kind_of(card)) is not HOUSE_PRICES:
        raise ModelRefusedError(
            f"{uri} is a {kind.name}: the public API and POST /predict price houses and nothing else. Ask its endpoint by"
            " `trainmaster endpoints invoke` or SageMaker's InvokeEndpoint."
        )
    ranges: dict[str, tuple[float, float]] = {}
    for name, feature in card.get("features", {}).items():
        accepted = feature.get("accepted")
        if not isinstance(accepted, list | tuple) or len(accepted) != 2:
            raise ModelRefusedError(
                f"{uri}: its model card does not say which values of {name} are accepted, so an API could not check them."
                " Train again."
            )
        ranges[name] = (float(accepted[0]), float(accepted[1]))
    return ranges


def desired_api(
    request: PublishRequest, accepted: Accepted, *, endpoint_arn: str, bucket: str, access_logs: bool
) -> DesiredApi:
    """Names follow from content: the same handler, ranges and choices ask for nothing new."""
    name, code = stack_name(request.endpoint_name), bundle(accepted)
    key = f"{code_prefix(request.endpoint_name)}{hashlib.sha256(code).hexdigest()}.zip"
    parameters = {
        "EndpointName": request.endpoint_name,
        "EndpointArn": endpoint_arn,
        "FunctionName": name,
        "CodeBucket": bucket,
        "CodeKey": key,
        "AllowedOrigin": request.allowed_origin,
        "RequestsPerSecond": str(request.requests_per_second),
        "RequestBurst": str(request.burst),
        "RequestsPerDay": str(request.requests_per_day),
        "LogDays": str(request.log_days),
        "AccessLogs": "yes" if access_logs else "no",
    }
    template = (SOURCE / "template.yaml").read_text(encoding="utf-8")
    content = hashlib.sha256(json.dumps([template, parameters], sort_keys=True).encode()).hexdigest()[:16]
    # A deployment never changes: only one of another name brings what has changed to the stage.
    template = re.sub(r"^(  |.*!Ref )Deployment\b", rf"\1Deployment{content}", template, flags=re.MULTILINE)
    return DesiredApi(request.endpoint_name, name, template, parameters, content, key, code)


def published_request(endpoint_name: str, parameters: Mapping[str, str]) -> PublishRequest:
    """What somebody asked for when he published it, from its stack's parameters."""
    return PublishRequest.model_validate(
        {
            "endpoint_name": endpoint_name,
            "allowed_origin": parameters["AllowedOrigin"],
            "requests_per_second": parameters["RequestsPerSecond"],
            "burst": parameters["RequestBurst"],
            "requests_per_day": parameters["RequestsPerDay"],
            "log_days": int(parameters["LogDays"]),
        }
    )


def bundle(accepted: Accepted) -> bytes:
    """The function's code with what it accepts, as a zip of the same bytes for the same content."""
    packed = io.BytesIO()
    files = {"handler.py": (SOURCE / "handler.py").read_text(encoding="utf-8"), "schema.json": json.dumps(accepted)}
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            member = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            archive.writestr(member, text, zipfile.ZIP_STORED)
    return packed.getvalue()


def plan_api(desired: DesiredApi, described: DescribedApi) -> list[ApiStep]:
    """The steps from what is to what should be; empty when nothing is to be done. The stack must have settled.

    Raises NameConflictError for somebody else's stack, RefusedError for one that only a person can help.
    """
    name = desired.stack_name
    refuse_foreign(name, described)
    if described.status in READY and described.content == desired.content:
        return []
    steps = [] if described.has_code else [ApiStep("upload-code", desired.code_key)]
    if described.status is None:
        return [*steps, ApiStep("create-stack", name)]
    if described.status in UPDATABLE:
        return [*steps, ApiStep("update-stack", name)]
    if described.status in DELETABLE:
        return [*steps, ApiStep("delete-stack", name), ApiStep("create-stack", name)]
    raise RefusedError(
        f"Stack {name} is {described.status}: an update failed, and so did the way back. `aws cloudformation"
        f" continue-update-rollback --stack-name {name}` tries that again once its cause is gone; `withdraw-api` removes it all."
    )


def refuse_foreign(name: str, described: DescribedApi) -> None:
    """Raises NameConflictError for a stack that Trainmaster did not make."""
    if not described.ours:
        raise NameConflictError(
            f"Stack {name} exists and was not made by Trainmaster for this endpoint. Delete or rename it, or choose another"
            " endpoint_name."
        )
