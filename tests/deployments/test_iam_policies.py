"""The policies of deployments/iam allow what the code asks of AWS, and are such as IAM takes."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import get_session

from trainmaster.doctor.permissions import JOBS_NEED, WE_NEED

ROOT = Path(__file__).parents[2]
POLICIES = {file.stem: json.loads(file.read_text()) for file in sorted((ROOT / "deployments" / "iam").glob("*.json"))}
OF_THE_WORKER = [policy for name, policy in POLICIES.items() if name.startswith("worker")]
LARGEST = 6144  # characters of a managed policy, blanks aside
CALLED = {
    "application-autoscaling": "application-autoscaling", "cloudformation": "cloudformation", "cloudwatch": "cloudwatch",
    "codebuild": "codebuild", "ec2": "ec2", "ecr": "ecr", "efs": "elasticfilesystem", "iam": "iam", "logs": "logs",
    "pricing": "pricing", "s3": "s3", "sagemaker": "sagemaker", "sagemaker-runtime": "sagemaker",
    "service-quotas": "servicequotas", "ssm": "ssm", "sts": "sts",
}  # fmt: skip
"""Services the code asks, as boto3 and as IAM call them."""
ALLOWED_BY = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListParts": "s3:ListMultipartUploadParts",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadObject": "s3:GetObject",
    "s3:CopyObject": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:UploadPartCopy": "s3:PutObject",
}
"""Operations whose permission has another name."""
FREE = {"sts:GetCallerIdentity"}
"""What everybody may do, whatever policies say."""
OTHERS = {"search"}
"""Names of operations that are methods of something else in this code."""


def words(file: Path) -> Iterator[str]:
    """Every attribute and word of a file that may be an operation's name."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "_" in node.value:
            yield node.value


def asked_of_aws() -> set[frozenset[str]]:
    """For each operation that is called, the permissions of which one is needed: several where services share its name."""
    named: dict[str, set[str]] = {}
    for service, prefix in CALLED.items():
        for operation in get_session().get_service_model(service).operation_names:
            action = f"{prefix}:{operation}"
            named.setdefault(xform_name(operation), set()).add(ALLOWED_BY.get(action, action))
    code = [file for file in (ROOT / "trainmaster").rglob("*.py") if "embedded" not in file.parts]
    called = {word for file in code for word in words(file)} - OTHERS
    return {frozenset(named[word]) for word in called & named.keys()}


def actions(policies: list[dict[str, Any]]) -> set[str]:
    found: set[str] = set()
    for policy in policies:
        for statement in policy["Statement"]:
            given = statement["Action"]
            found |= {given} if isinstance(given, str) else set(given)
    return found


def test_a_worker_with_all_its_policies_may_do_whatever_the_code_asks() -> None:
    allowed = actions(OF_THE_WORKER)
    assert [sorted(choices) for choices in asked_of_aws() if not choices & (allowed | FREE)] == []


def test_what_is_asked_of_aws_is_found_in_the_code() -> None:
    assert {frozenset({"sagemaker:CreateTrainingJob"}), frozenset({"s3:GetObject"})} <= asked_of_aws()


def test_what_the_doctor_looks_for_is_what_the_policies_allow() -> None:
    needs = {
        name: {action for listed in of.values() for action in listed}
        for name, of in (("jobs", JOBS_NEED), ("we", WE_NEED))
    }
    assert needs["jobs"] <= actions([POLICIES["execution-role"]])
    assert needs["we"] <= actions(OF_THE_WORKER)


@pytest.mark.parametrize("name", POLICIES)
class TestPolicy:
    def test_every_action_is_one_there_is(self, name: str) -> None:
        prefixes = {prefix: service for service, prefix in CALLED.items() if service != "sagemaker-runtime"}
        known = {
            f"{prefix}:{operation}"
            for prefix, service in {**prefixes, "lambda": "lambda", "kms": "kms"}.items()
            for operation in get_session().get_service_model(service).operation_names
        } | {
            *ALLOWED_BY.values(), "sagemaker:InvokeEndpoint", "iam:PassRole", "ecr:GetAuthorizationToken",
            *(f"apigateway:{method}" for method in ("GET", "POST", "PUT", "PATCH", "DELETE")),
        }  # fmt: skip
        assert actions([POLICIES[name]]) <= known

    def test_it_is_no_longer_than_a_managed_policy_may_be_and_nothing_is_allowed_to_everything(self, name: str) -> None:
        assert len("".join(json.dumps(POLICIES[name]).split())) <= LARGEST
        assert not {action for action in actions([POLICIES[name]]) if "*" in action}
