"""What this code asks of AWS: every operation of a service it uses whose name stands in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from botocore import xform_name
from botocore.session import get_session

ROOT = Path(__file__).parents[1]
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
