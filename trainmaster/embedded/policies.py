"""What the default role may do, and `iam:SimulatePrincipalPolicy`, which moto lacks and the SageMaker SDK asks."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

from trainmaster.embedded.calls import Call
from trainmaster.embedded.permissions.evaluation import Asked, NotUnderstoodError, Statement, decide, statements_of
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.roles import SERVICE
from trainmaster.embedded.sagemaker.wire import AwsError

EXECUTION_ROLE = "TrainmasterExecutionRole"
_CONTEXT_KEY = re.compile(r"ContextEntries\.member\.(\d+)\.ContextKeyName")

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": SERVICE}, "Action": "sts:AssumeRole"}],
}
_PERMISSIONS = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": [
                "sagemaker:*",
                "s3:*",
                "logs:*",
                "cloudwatch:*",
                "ecr:*",
                "ec2:*",
                "kms:*",
                "iam:GetRole",
                "iam:PassRole",
            ],
            "Resource": "*",
        }
    ],
}


def ensure_execution_role(account: Account) -> str:
    """The ARN of the role jobs and endpoints run as by default, made when it is not there."""
    iam = account.iam
    try:
        return iam.get_role(RoleName=EXECUTION_ROLE)["Role"]["Arn"]
    except iam.exceptions.NoSuchEntityException:
        made = iam.create_role(
            RoleName=EXECUTION_ROLE,
            AssumeRolePolicyDocument=json.dumps(_TRUST),
            Description="What the embedded AWS's jobs and endpoints run as.",
        )
    iam.put_role_policy(RoleName=EXECUTION_ROLE, PolicyName="run", PolicyDocument=json.dumps(_PERMISSIONS))
    return made["Role"]["Arn"]


def simulate_principal_policy(account: Account, call: Call) -> Response:
    """Each action against each resource: an explicit Deny wins, then an Allow, else it is denied implicitly."""
    source = call.parameters.get("PolicySourceArn", [""])[0]
    actions = _members(call, "ActionNames")
    if not source or not actions:
        raise AwsError("ValidationError", "PolicySourceArn and ActionNames must not be empty.")
    statements, context = list(_statements(account, source)), _context(call)
    asked = [Asked(action, arn, context) for action in actions for arn in _members(call, "ResourceArns") or ["*"]]
    try:
        words = [decide(statements, one).word for one in asked]
    except NotUnderstoodError as error:
        raise AwsError("NotImplementedException", f"The embedded AWS cannot evaluate it: {error}", status=501) from None
    results = "".join(
        f"<member><EvalActionName>{escape(one.action)}</EvalActionName><EvalResourceName>{escape(one.resource)}</EvalResourceName>"
        f"<EvalDecision>{word}</EvalDecision><MatchedStatements/></member>"
        for one, word in zip(asked, words, strict=True)
    )
    request_id = str(uuid.uuid4())
    return Response(
        '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        f"<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults>"
        f"</SimulatePrincipalPolicyResult><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        "</SimulatePrincipalPolicyResponse>",
        content_type="text/xml",
        headers={"x-amzn-RequestId": request_id},
    )


def _members(call: Call, name: str) -> list[str]:
    numbered = [
        (int(key.rpartition(".")[2]), values[0])
        for key, values in call.parameters.items()
        if key.startswith(f"{name}.member.") and key.rpartition(".")[2].isdecimal()
    ]
    return [value for _, value in sorted(numbered)]


def _statements(account: Account, source: str) -> Iterator[Statement]:
    """Those of all policies of a role or a user, inline and attached. Whoever calls by this AWS's own keys may do everything: moto
    tells him that he is this user."""
    if source == f"arn:aws:sts::{account.account_id}:user/moto":
        yield from statements_of({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
        return
    kind = next((kind for kind in ("role", "user") if f":{kind}/" in source), None)
    if kind is None:
        raise AwsError("InvalidInput", f"The embedded AWS simulates roles and users, not {source}.")
    iam: Any = account.iam
    named = {f"{kind.capitalize()}Name": source.rpartition("/")[2]}
    try:
        for name in getattr(iam, f"list_{kind}_policies")(**named)["PolicyNames"]:
            yield from _in(getattr(iam, f"get_{kind}_policy")(**named, PolicyName=name)["PolicyDocument"])
        for attached in getattr(iam, f"list_attached_{kind}_policies")(**named)["AttachedPolicies"]:
            policy = iam.get_policy(PolicyArn=attached["PolicyArn"])["Policy"]
            version = iam.get_policy_version(PolicyArn=attached["PolicyArn"], VersionId=policy["DefaultVersionId"])
            yield from _in(version["PolicyVersion"]["Document"])
    except iam.exceptions.NoSuchEntityException as error:
        raise AwsError("NoSuchEntity", error.response["Error"]["Message"], status=404) from None


def _in(document: Any) -> list[Statement]:
    return statements_of(document if isinstance(document, dict) else json.loads(unquote(document)))


def _context(call: Call) -> dict[str, tuple[str, ...]]:
    """The condition keys the caller says the call would have; one it does not name is not there."""
    found = {}
    for key, values in call.parameters.items():
        if entry := _CONTEXT_KEY.fullmatch(key):
            found[values[0].lower()] = tuple(_members(call, f"ContextEntries.member.{entry[1]}.ContextKeyValues"))
    return found
