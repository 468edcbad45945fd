"""What IAM's simulation says of a role's policies, as AWS decides: SDKs ask it before they launch anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from embedded_aws import EmbeddedAws
from waiting import TRUST


class TestSimulatePrincipalPolicy:
    @pytest.fixture
    def decide(self, embedded: EmbeddedAws) -> Callable[..., dict[str, str]]:
        """Decisions by action, for a new role with these inline statements and attached ones."""

        def decide(
            actions: list[str], inline: list[Any], attached: list[Any] | None = None, **request: Any
        ) -> dict[str, str]:
            iam, name = embedded.client("iam"), f"role-{uuid4().hex[:8]}"
            arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
            document = {"Version": "2012-10-17", "Statement": inline}
            iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=json.dumps(document))
            if attached:
                document = {"Version": "2012-10-17", "Statement": attached}
                policy = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(document))["Policy"]["Arn"]
                iam.attach_role_policy(RoleName=name, PolicyArn=policy)
            results = iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=actions, **request)
            return {one["EvalActionName"]: one["EvalDecision"] for one in results["EvaluationResults"]}

        return decide

    def test_what_no_policy_allows_is_denied_implicitly(self, decide: Callable[..., dict[str, str]]) -> None:
        allow = {"Effect": "Allow", "Action": ["S3:get*", "logs:*"], "Resource": "*"}
        assert decide(["s3:GetObject", "s3:PutObject", "logs:PutLogEvents"], [allow]) == {
            "s3:GetObject": "allowed",
            "s3:PutObject": "implicitDeny",
            "logs:PutLogEvents": "allowed",
        }

    def test_an_explicit_deny_wins_over_every_allow(self, decide: Callable[..., dict[str, str]]) -> None:
        deny = {"Effect": "Deny", "Action": "s3:Delete*", "Resource": "*"}
        allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        expected = {"s3:DeleteObject": "explicitDeny", "s3:GetObject": "allowed"}
        assert decide(list(expected), [deny], [allow]) == expected
        assert decide(list(expected), [allow], [deny]) == expected

    def test_resources_and_inversions_are_honoured(self, decide: Callable[..., dict[str, str]]) -> None:
        allow = {"Effect": "Allow", "NotAction": "s3:Delete*", "Resource": "arn:aws:s3:::mine/*"}
        actions = ["s3:GetObject", "s3:DeleteObject"]
        mine, yours = ["arn:aws:s3:::mine/key"], ["arn:aws:s3:::yours/key"]
        assert decide(actions, [allow], ResourceArns=mine) == {
            "s3:GetObject": "allowed",
            "s3:DeleteObject": "implicitDeny",
        }
        assert set(decide(actions, [allow], ResourceArns=yours).values()) == {"implicitDeny"}

    def test_the_default_role_may_do_what_jobs_need(self, embedded: EmbeddedAws) -> None:
        results = embedded.client("iam").simulate_principal_policy(
            PolicySourceArn=embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"],
            ActionNames=[
                "s3:GetObject",
                "logs:CreateLogStream",
                "cloudwatch:PutMetricData",
                "ecr:GetAuthorizationToken",
            ],
        )["EvaluationResults"]
        assert {one["EvalDecision"] for one in results} == {"allowed"}

    def test_a_user_is_simulated_like_a_role_and_whoever_asks_by_its_own_keys_may_do_everything(
        self, embedded: EmbeddedAws
    ) -> None:
        iam, name = embedded.client("iam"), f"user-{uuid4().hex[:8]}"
        user = iam.create_user(UserName=name)["User"]["Arn"]
        allow = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        iam.put_user_policy(UserName=name, PolicyName="inline", PolicyDocument=document)

        def decided(arn: str) -> list[str]:
            actions = ["s3:GetObject", "iam:PassRole"]
            results = iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=actions)["EvaluationResults"]
            return [one["EvalDecision"] for one in results]

        assert decided(user) == ["allowed", "implicitDeny"]
        assert decided(embedded.client("sts").get_caller_identity()["Arn"]) == ["allowed", "allowed"]

    def test_a_role_that_is_not_there_is_no_such_entity(self, embedded: EmbeddedAws) -> None:
        iam = embedded.client("iam")
        nobody = "arn:aws:iam::123456789012:role/Nobody"
        with pytest.raises(iam.exceptions.NoSuchEntityException):
            iam.simulate_principal_policy(PolicySourceArn=nobody, ActionNames=["s3:GetObject"])
