"""The model registry: groups, and the versions in each. A version's number is never given twice, not even after deletion."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.listing import page
from trainmaster.embedded.sagemaker.records import AlreadyRecordedError
from trainmaster.embedded.sagemaker.wire import AwsError, Json, invalid

if TYPE_CHECKING:
    from trainmaster.embedded.sagemaker.api import Operation

GROUP, PACKAGE = "model-package-group", "model-package"
_CREATOR: Json = {}
"""AWS names the Studio user here; there is none."""


def operations(account: Account) -> Mapping[str, Operation]:
    """Those of groups, and of versions in them; packages outside any group, as the Marketplace sells, are not embedded."""
    table = {
        "CreateModelPackageGroup": _create_group,
        "DescribeModelPackageGroup": _describe_group,
        "ListModelPackageGroups": _list_groups,
        "DeleteModelPackageGroup": _delete_group,
        "CreateModelPackage": _create,
        "DescribeModelPackage": _describe,
        "UpdateModelPackage": _update,
        "ListModelPackages": _list,
        "DeleteModelPackage": _delete,
    }
    return {name: partial(operation, account) for name, operation in table.items()}


def container_of(account: Account, name_or_arn: str) -> Json:
    """What a model made from a version runs: its image, artifact and environment. Raises AwsError for no such version."""
    described: Json = _known(account, name_or_arn)["InferenceSpecification"]["Containers"][0]
    return {member: described[member] for member in ("Image", "ModelDataUrl", "Environment") if member in described}


def _create_group(account: Account, request: Json) -> Json:
    name = request["ModelPackageGroupName"]
    arn = account.arn(GROUP, name)
    body = {member: value for member, value in request.items() if member != "Tags"} | {
        "ModelPackageGroupArn": arn,
        "ModelPackageGroupStatus": "Completed",
        "CreationTime": account.now(),
        "CreatedBy": _CREATOR,
        "LastVersion": 0,
    }
    try:
        account.records.create(GROUP, name, arn, body, request.get("Tags"))
    except AlreadyRecordedError:
        raise invalid(f"Model Package Group already exists: {arn}") from None
    return {"ModelPackageGroupArn": arn}


def _describe_group(account: Account, request: Json) -> Json:
    return _known_group(account, request["ModelPackageGroupName"])


def _list_groups(account: Account, request: Json) -> Json:
    given = {member: value for member, value in request.items() if member != "CrossAccountFilterOption"}
    return page(
        account.records.all(GROUP), given, name="ModelPackageGroupName", summaries="ModelPackageGroupSummaryList"
    )


def _delete_group(account: Account, request: Json) -> Json:
    with account.records.transaction():
        group = _known_group(account, request["ModelPackageGroupName"])
        if any(
            each["ModelPackageGroupName"] == group["ModelPackageGroupName"] for each in account.records.all(PACKAGE)
        ):
            raise AwsError(
                "ConflictException", f"Model Package Group {group['ModelPackageGroupArn']} still has model packages."
            )
        account.records.delete(GROUP, group["ModelPackageGroupName"])
    return {}


def _create(account: Account, request: Json) -> Json:
    if "ModelPackageName" in request and "ModelPackageGroupName" in request:
        raise invalid("Both ModelPackageName and ModelPackageGroupName are provided in the input.")
    if "ModelPackageGroupName" not in request:
        raise invalid("The embedded AWS has versioned model packages only: give a ModelPackageGroupName.")
    if request.get("Tags"):
        raise invalid("Tags cannot be given to a versioned model package; tag its group.")
    if "InferenceSpecification" not in request:
        raise invalid("The embedded AWS needs the InferenceSpecification of a model package.")
    with account.records.transaction():
        name = _known_group(account, request["ModelPackageGroupName"])["ModelPackageGroupName"]
        token = request.get("ClientToken")
        again = [one for one in account.records.all(PACKAGE) if token and _made_by(one) == (name, token)]
        if again:
            return {"ModelPackageArn": again[0]["ModelPackageArn"]}
        with account.records.changing(GROUP, name) as group:
            group["LastVersion"] += 1
            version = group["LastVersion"]
        arn, now = account.arn(PACKAGE, f"{name}/{version}"), account.now()
        body = {"ModelApprovalStatus": "PendingManualApproval", **request} | {
            "ModelPackageGroupName": name,
            "ModelPackageVersion": version,
            "ModelPackageArn": arn,
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": []},
            "CreationTime": now,
            "LastModifiedTime": now,
            "CreatedBy": _CREATOR,
        }
        account.records.create(PACKAGE, f"{name}/{version}", arn, body)
    return {"ModelPackageArn": arn}


def _made_by(package: Json) -> tuple[str, str | None]:
    return package["ModelPackageGroupName"], package.get("ClientToken")


def _describe(account: Account, request: Json) -> Json:
    package = _known(account, request["ModelPackageName"])
    return {"ModelPackageName": package["ModelPackageGroupName"]} | package


def _update(account: Account, request: Json) -> Json:
    known = _known(account, request["ModelPackageArn"])
    name = f"{known['ModelPackageGroupName']}/{known['ModelPackageVersion']}"
    with account.records.changing(PACKAGE, name) as body:
        removed = request.pop("CustomerMetadataPropertiesToRemove", [])
        kept = body.get("CustomerMetadataProperties", {}) | request.pop("CustomerMetadataProperties", {})
        body["CustomerMetadataProperties"] = {key: value for key, value in kept.items() if key not in removed}
        added = request.pop("AdditionalInferenceSpecificationsToAdd", [])
        body["AdditionalInferenceSpecifications"] = body.get("AdditionalInferenceSpecifications", []) + added
        body.update(
            {member: value for member, value in request.items() if member not in ("ModelPackageArn", "ClientToken")}
        )
        body["LastModifiedTime"] = account.now()
    return {"ModelPackageArn": known["ModelPackageArn"]}


def _list(account: Account, request: Json) -> Json:
    group, status = request.pop("ModelPackageGroupName", None), request.pop("ModelApprovalStatus", None)
    packages = account.records.all(PACKAGE)
    if group is not None:
        name = _known_group(account, group)["ModelPackageGroupName"]
        packages = [each for each in packages if each["ModelPackageGroupName"] == name]
    elif request.get("ModelPackageType", "Unversioned") == "Unversioned":
        packages = []  # AWS's default without a group, of which there are none here
    if status is not None:
        packages = [each for each in packages if each["ModelApprovalStatus"] == status]
    request.pop("ModelPackageType", None)
    return page(packages, request, name="ModelPackageArn", summaries="ModelPackageSummaryList")


def _delete(account: Account, request: Json) -> Json:
    package = _known(account, request["ModelPackageName"])
    account.records.delete(PACKAGE, f"{package['ModelPackageGroupName']}/{package['ModelPackageVersion']}")
    return {}


def _known_group(account: Account, name_or_arn: str) -> Json:
    name = name_or_arn.rpartition("/")[2]
    body = account.records.get(GROUP, name)
    if body is None:
        raise invalid(f"ModelPackageGroup {account.arn(GROUP, name)} does not exist.")
    return body


def _known(account: Account, name_or_arn: str) -> Json:
    name = name_or_arn.rpartition(f":{PACKAGE}/")[2]
    body = account.records.get(PACKAGE, name)
    if body is None:
        raise invalid(f"ModelPackage {account.arn(PACKAGE, name)} does not exist.")
    return body
