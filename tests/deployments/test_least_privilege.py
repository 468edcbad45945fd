"""Every call is allowed by exactly one statement of the policies of who makes it, and no statement says more than calls need."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from asked_operations import asked_of_aws
from botocore import xform_name

from trainmaster.embedded.permissions.evaluation import Asked, Statement, decide, is_like, statements_of
from trainmaster.embedded.permissions.needs import Needs

ROOT = Path(__file__).parents[2]
IAM = ROOT / "deployments" / "iam"
DOCUMENTS = {file.stem: json.loads(file.read_text()) for file in sorted(IAM.glob("*.json"))}
ROLES = {
    "worker": ("worker", "worker-public-api", "worker-workspaces"),
    "execution": ("execution-role",),
    "function": ("api-function",),
    "deployer": ("deployer",),
    "auditor": ("auditor",),
}
"""The roles there are, by the policies each has all of."""
ROLE = "arn:aws:iam::ACCOUNT:role/"
EXECUTION = f"{ROLE}trainmaster-execution"
SAGEMAKER = "arn:aws:sagemaker:us-east-1:ACCOUNT"
GROUP = "/aws/sagemaker/TrainingJobs"
OWN_TAG = {"Key": "trainmaster:installation", "Value": "INSTALLATION"}
A_TAG = {"Key": "trainmaster:endpoint", "Value": "x"}
KINDS = (
    "training-job", "endpoint", "endpoint-config", "model", "model-package", "model-package-group", "experiment", "domain", "space",
)  # fmt: skip
TAGGED: Sequence[Mapping[str, Any]] = [{"ResourceArn": f"{SAGEMAKER}:{kind}/x", "Tags": [A_TAG]} for kind in KINDS]
MEMBERS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "application-autoscaling:DeregisterScalableTarget": [{"ServiceNamespace": "sagemaker"}],
    "application-autoscaling:PutScalingPolicy": [{"ServiceNamespace": "sagemaker"}],
    "application-autoscaling:RegisterScalableTarget": [{"ServiceNamespace": "sagemaker"}],
    **{
        f"cloudformation:{operation}": [{"StackName": "predict-x"}]
        for operation in ("CreateStack", "DeleteStack", "DescribeStackEvents", "DescribeStacks", "UpdateStack")
    },
    "codebuild:BatchGetBuilds": [{"ids": ["trainmaster-x:1"]}],
    "codebuild:BatchGetProjects": [{"names": ["trainmaster-x"]}],
    "codebuild:CreateProject": [{"name": "trainmaster-x", "serviceRole": f"{ROLE}trainmaster-image-builder"}],
    "codebuild:ListBuildsForProject": [{"projectName": "trainmaster-x"}],
    "codebuild:StartBuild": [{"projectName": "trainmaster-x"}],
    "ec2:CreateImage": [{"InstanceId": "i-1", "TagSpecification.1.ResourceType": "image", "TagSpecification.1.Tag.1.Key": "a"}],
    "ec2:CreateSecurityGroup": [
        {"TagSpecification.1.ResourceType": "security-group", "TagSpecification.1.Tag.1.Key": "a"}
    ],
    "ec2:CreateTags": [{"ResourceId.1": f"{kind}-1", "Tag.1.Key": "a"} for kind in ("i", "vol", "sg", "ami", "snap")],
    "ec2:DeleteTags": [{"ResourceId.1": "i-1", "Tag.1.Key": "a"}],
    "ec2:RunInstances": [
        {
            "IamInstanceProfile.Name": "trainmaster-workspaces",
            "TagSpecification.1.ResourceType": "instance", "TagSpecification.1.Tag.1.Key": "a",
            "TagSpecification.2.ResourceType": "volume", "TagSpecification.2.Tag.1.Key": "a",
        }
    ],
    **{
        f"ec2:{operation}": [{"InstanceId.1": "i-1"}]
        for operation in (
            "GetConsoleOutput", "ModifyInstanceAttribute", "ModifyInstanceMetadataOptions", "StartInstances", "StopInstances",
            "TerminateInstances",
        )
    },
    "ec2:DeleteVolume": [{"VolumeId": "vol-1"}],
    "ecr:CreateRepository": [{"repositoryName": "trainmaster-workspaces/x"}],
    "ecr:DescribeImages": [{"repositoryName": "trainmaster-workspaces/x"}],
    "ecr:DescribeRepositories": [{"repositoryNames": ["trainmaster-workspaces/x"]}],
    "iam:AddRoleToInstanceProfile": [
        {"InstanceProfileName": "trainmaster-workspaces", "RoleName": "trainmaster-workspaces"}
    ],
    "iam:AttachRolePolicy": [
        {"RoleName": "trainmaster-workspaces", "PolicyArn": "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"}
    ],
    "iam:CreateInstanceProfile": [{"InstanceProfileName": "trainmaster-workspaces"}],
    "iam:GetInstanceProfile": [{"InstanceProfileName": "trainmaster-workspaces"}],
    "iam:CreateRole": [
        {"RoleName": "trainmaster-workspaces"},
        {"RoleName": "trainmaster-image-builder", "Tags.member.1.Key": "a"},
    ],
    "iam:GetRole": [{"RoleName": f"trainmaster-{name}"} for name in ("execution", "image-builder")],
    "iam:GetRolePolicy": [{"RoleName": "trainmaster-image-builder"}],
    "iam:PutRolePolicy": [{"RoleName": f"trainmaster-{name}"} for name in ("workspaces", "image-builder")],
    "iam:SimulatePrincipalPolicy": [{"PolicySourceArn": EXECUTION}, {"PolicySourceArn": "arn:aws:iam::ACCOUNT:user/x"}],
    **{f"logs:{name}": [{"logGroupName": GROUP}] for name in ("DescribeLogStreams", "FilterLogEvents", "GetLogEvents")},
    "sagemaker:AddTags": TAGGED,
    "sagemaker:DeleteTags": [{**one, "TagKeys": ["trainmaster:expires"], "Tags": []} for one in TAGGED],
    "sagemaker:ListTags": TAGGED,
    "sagemaker:CreateDomain": [{"DefaultUserSettings": {"ExecutionRole": EXECUTION}, "Tags": [A_TAG]}],
    "sagemaker:CreateEndpoint": [{"Tags": [OWN_TAG, A_TAG]}],
    "sagemaker:CreateEndpointConfig": [{"Tags": [A_TAG]}],
    "sagemaker:CreateImage": [{"RoleArn": EXECUTION}],
    "sagemaker:CreateModel": [{"ExecutionRoleArn": EXECUTION, "Tags": [A_TAG]}],
    "sagemaker:CreateTrainingJob": [{"RoleArn": EXECUTION, "Tags": [OWN_TAG]}],
    "sagemaker:DescribeModelPackage": [{"ModelPackageName": f"{SAGEMAKER}:model-package/x/1"}],
    "sagemaker:UpdateModelPackage": [{"ModelPackageArn": f"{SAGEMAKER}:model-package/x/1"}],
    "ssm:GetParameter": [{"Name": "/aws/service/x"}, {"Name": "/ours"}],
}  # fmt: skip
"""What the code gives calls whose permission depends on it; of others any resource is meant."""
BESIDE = ("kms:DescribeKey",)
"""Operations of services whose names are words of other things in this code too."""
OF_BUCKETS = {
    "s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads", "s3:GetEncryptionConfiguration",
    "s3:GetBucketPublicAccessBlock", "s3:CreateBucket", "s3:PutBucketPublicAccessBlock", "s3:PutLifecycleConfiguration",
}  # fmt: skip
TAGS = {"trainmaster:installation": "INSTALLATION", "trainmaster:template": "x"}
"""Of what is the installation's own."""


def s3(action: str) -> list[Asked]:
    end = "" if action in OF_BUCKETS else "/*"
    return [Asked(action, f"arn:aws:s3:::{bucket}{end}") for bucket in ("BUCKET", "DATASET-BUCKET")]


def needed(action: str, members: Sequence[Mapping[str, Any]] = ({},)) -> list[Asked]:
    needs = Needs("ACCOUNT", "us-east-1", lambda arn: TAGS if "*" not in arn or ":sagemaker:" in arn else {})
    return [asked for one in members for asked in needs.named(action, one)]


def of_stacks() -> list[Asked]:
    """What CloudFormation does, in the name of who asks it to, for the resources of deployments/predict_api/template.yaml.

    After the handlers' permissions in the schemas of these resource types, in CloudFormation's registry.
    """
    function = "CreateFunction GetFunction UpdateFunctionCode UpdateFunctionConfiguration DeleteFunction AddPermission RemovePermission TagResource ListTags"
    role = "CreateRole GetRole DeleteRole PutRolePolicy GetRolePolicy DeleteRolePolicy TagRole"
    group = "CreateLogGroup DeleteLogGroup PutRetentionPolicy TagResource"
    logs = "arn:aws:logs:us-east-1:ACCOUNT:log-group:"
    return [
        *(Asked(f"lambda:{name}", "arn:aws:lambda:us-east-1:ACCOUNT:function:predict-x") for name in function.split()),
        *(Asked(f"iam:{name}", f"{ROLE}predict-x") for name in role.split()),
        Asked("iam:PassRole", f"{ROLE}predict-x", {"iam:passedtoservice": ("lambda.amazonaws.com",)}),
        *(
            Asked(f"logs:{name}", f"{logs}/aws/{of}/predict-x")
            for name in group.split()
            for of in ("lambda", "apigateway")
        ),
        Asked("logs:DescribeLogGroups", f"{logs}:log-stream:"),
        *(
            Asked(f"apigateway:{method}", f"arn:aws:apigateway:us-east-1::/{path}")
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
            for path in ("restapis", "restapis/x", "apikeys", "apikeys/x", "usageplans", "usageplans/x", "tags/x")
        ),
        Asked("apigateway:GET", "arn:aws:apigateway:us-east-1::/account"),
    ]


def of_the_worker() -> Iterator[Asked]:
    for choices in asked_of_aws():
        for action in choices & KNOWN:
            yield from s3(action) if action.startswith("s3:") else needed(action, MEMBERS.get(action, ({},)))
    for action in BESIDE:
        yield from needed(action)
    yield from of_stacks()


def of_jobs() -> Iterator[Asked]:
    """What SageMaker does with the role of jobs and endpoints.

    After "CreateTrainingJob API: Execution Role Permissions" and "CreateModel API: …" in the SageMaker developer guide; the
    toolkits finish uploads they gave up by AbortMultipartUpload, and boto3 asks where a bucket is.
    """
    for action in ("GetObject", "PutObject", "AbortMultipartUpload", "ListBucket", "GetBucketLocation"):
        yield from s3(f"s3:{action}")
    for action in ("CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents"):
        yield Asked(f"logs:{action}", f"arn:aws:logs:us-east-1:ACCOUNT:log-group:{GROUP}:log-stream:x")
    for namespace in ("/aws/sagemaker/TrainingJobs", "aws/sagemaker/Endpoints"):
        yield Asked("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": (namespace,)})
    yield Asked("ecr:GetAuthorizationToken", "*")
    for action in ("BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "BatchGetImage"):
        yield Asked(f"ecr:{action}", "arn:aws:ecr:us-east-1:683313688378:repository/sagemaker-scikit-learn")


def of_the_function() -> Iterator[Asked]:
    """What deployments/predict_api/handler.py calls, and Lambda to write the function's log."""
    yield from needed("sagemaker:InvokeEndpoint", [{"EndpointName": "ENDPOINT"}])
    group = "arn:aws:logs:us-east-1:ACCOUNT:log-group:/aws/lambda/predict-ENDPOINT"
    yield from (Asked(f"logs:{name}", f"{group}:log-stream:x") for name in ("CreateLogStream", "PutLogEvents"))


DOCUMENTED = {
    "s3api": {
        "create-bucket": "s3:CreateBucket",
        "put-public-access-block": "s3:PutBucketPublicAccessBlock",
        "put-bucket-lifecycle-configuration": "s3:PutLifecycleConfiguration",
    }
}


def of_the_deployer() -> Iterator[Asked]:
    """What the commands of docs/going-to-aws.md ask of AWS."""
    text = (ROOT / "docs" / "going-to-aws.md").read_text().replace("\\\n", " ")
    for service, command, options in re.findall(r"\baws ([\w-]+) ([\w-]+)(.*?)(?=;|\)|$)", text, re.MULTILINE):
        words = shlex.split(options, comments=True)
        given = {words[at]: words[at + 1] for at in range(len(words) - 1) if words[at].startswith("--")}
        if service == "s3api":
            yield from s3(DOCUMENTED["s3api"][command])
        elif service in ("iam", "sagemaker"):
            action = next(one for one in OPERATIONS if xform_name(one.partition(":")[2], "-") == command)
            members = {
                MEMBER.get(name, name): value.replace("$AWS_REGION", "us-east-1").replace("$", "")
                for name, value in given.items()
            }
            yield from needed(action, [{**members, "PolicyName": "trainmaster-worker", "Tags": []}])
        else:
            assert (service, command) == ("sts", "get-caller-identity")


MEMBER = {
    "--role-name": "RoleName", "--policy-arn": "PolicyArn", "--policy-name": "PolicyName", "--resource-arn": "ResourceArn",
}  # fmt: skip
OPERATIONS = (
    "iam:CreateRole", "iam:PutRolePolicy", "iam:CreatePolicy", "iam:AttachRolePolicy", "iam:CreatePolicyVersion", "sagemaker:AddTags",
)  # fmt: skip


def of_the_auditor() -> Iterator[Asked]:
    """What `trainmaster train`, `endpoints` and `workspaces` read, and who looks at roles and buckets."""
    kinds = ("TrainingJob", "Endpoint", "EndpointConfig", "Model", "ModelPackageGroup")
    for operation in (*(f"Describe{kind}" for kind in kinds), *(f"List{kind}s" for kind in (*kinds, "Domain", "Space", "App", "ModelPackage"))):  # fmt: skip
        yield from needed(f"sagemaker:{operation}")
    yield from needed("sagemaker:DescribeModelPackage", MEMBERS["sagemaker:DescribeModelPackage"])
    yield from needed("sagemaker:ListTags", [one for one in TAGGED if "experiment" not in one["ResourceArn"]][:6])
    for operation in ("DescribeLogStreams", "FilterLogEvents", "GetLogEvents"):
        yield from needed(f"logs:{operation}", [{"logGroupName": GROUP}])
    for action in ("ListBucket", "GetBucketLocation", "GetEncryptionConfiguration", "GetBucketPublicAccessBlock"):
        yield from s3(f"s3:{action}")
    for operation in ("GetRole", "GetRolePolicy", "ListRolePolicies", "ListAttachedRolePolicies"):
        yield from needed(f"iam:{operation}", [{"RoleName": "trainmaster-execution"}])
    for operation in ("GetPolicy", "GetPolicyVersion"):
        yield from needed(f"iam:{operation}", [{"PolicyArn": "arn:aws:iam::ACCOUNT:policy/trainmaster-worker"}])
    for action in (
        "ec2:DescribeInstances",
        "ec2:DescribeVolumes",
        "cloudwatch:GetMetricData",
        "cloudwatch:DescribeAlarms",
    ):
        yield from needed(action)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(role: str) -> list[Statement]:
    return [one for policy in ROLES[role] for one in statements_of(DOCUMENTS[policy])]


KNOWN = {action for policy in ROLES["worker"] for one in statements_of(DOCUMENTS[policy]) for action in one.actions()}
ASKED = {
    "worker": list(of_the_worker()),
    "execution": list(of_jobs()),
    "function": list(of_the_function()),
    "deployer": list(of_the_deployer()),
    "auditor": list(of_the_auditor()),
}


@pytest.mark.parametrize("role", ROLES)
class TestRole:
    def test_each_call_is_allowed_by_exactly_one_statement(self, role: str) -> None:
        decided = {str(asked): decide(statements(role), asked) for asked in ASKED[role]}
        assert {asked: one for asked, one in decided.items() if not one.allowed or len(one.by) != 1} == {}

    def test_without_any_of_its_actions_a_call_is_refused(self, role: str) -> None:
        """And so no statement is unused: taking an action away is what would make a role fail."""
        idle = []
        for statement in statements(role):
            for action in statement.actions():
                asked = [one for one in ASKED[role] if one.action == action]
                if not any(statement.concerns(one) for one in asked):
                    idle.append((statement.sid, action))
        assert idle == []

    def test_without_any_of_its_resources_a_call_is_refused(self, role: str) -> None:
        idle = []
        for statement in statements(role):
            resources = [one.resource for one in ASKED[role] if statement.concerns(one)]
            patterns = listed(statement.said["Resource"])
            idle += [(statement.sid, one) for one in patterns if not any(is_like(arn, one) for arn in resources)]
        assert idle == []


def test_the_policies_are_those_of_the_roles_there_are() -> None:
    assert {policy for policies in ROLES.values() for policy in policies} == DOCUMENTS.keys() - {"execution-trust"}


def test_what_is_for_every_resource_has_its_reason_written_down() -> None:
    table = re.findall(r"^\| `([\w-]+)` \| `(\w+)` \| (.{20,}) \|$", (IAM / "README.md").read_text(), re.MULTILINE)
    wide = {
        (name, one.sid)
        for name, document in DOCUMENTS.items()
        if name != "execution-trust"
        for one in statements_of(document)
        if "*" in listed(one.said["Resource"])
    }
    assert {(policy, sid) for policy, sid, _ in table} == wide


def test_no_statement_is_called_like_another_of_its_role() -> None:
    for role in ROLES:
        sids = [one.sid for one in statements(role)]
        assert len(sids) == len(set(sids))
        assert all(sid.isalnum() for sid in sids)
