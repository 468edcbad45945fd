"""The policies of deployments/iam allow what the code asks of AWS, and are such as IAM takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from asked_operations import ALLOWED_BY, CALLED, asked_of_aws
from botocore.session import get_session

from trainmaster.doctor.permissions import JOBS_NEED, WE_NEED

ROOT = Path(__file__).parents[2]
POLICIES = {file.stem: json.loads(file.read_text()) for file in sorted((ROOT / "deployments" / "iam").glob("*.json"))}
OF_THE_WORKER = [policy for name, policy in POLICIES.items() if name.startswith("worker")]
LARGEST = 6144  # characters of a managed policy, blanks aside
OF_BUCKETS = {"s3:PutBucketPublicAccessBlock", "s3:PutLifecycleConfiguration"}
"""Permissions whose operations are called otherwise."""
FREE = {"sts:GetCallerIdentity"}
"""What everybody may do, whatever policies say."""


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
            *ALLOWED_BY.values(), *OF_BUCKETS, "sagemaker:InvokeEndpoint", "iam:PassRole", "ecr:GetAuthorizationToken",
            *(f"apigateway:{method}" for method in ("GET", "POST", "PUT", "PATCH", "DELETE")),
        }  # fmt: skip
        assert actions([POLICIES[name]]) <= known

    def test_it_is_no_longer_than_a_managed_policy_may_be_and_nothing_is_allowed_to_everything(self, name: str) -> None:
        assert len("".join(json.dumps(POLICIES[name]).split())) <= LARGEST
        assert not {action for action in actions([POLICIES[name]]) if "*" in action}
