"""What is found out about a launch beforehand, from an AWS that has the quotas, roles, buckets and networks it has."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from desks import desk_at
from lasting_jobs import BRIEF, described, job_plan, put_data
from web_server import serving

from trainmaster.aws import quotas
from trainmaster.budget.budgets import ACCOUNT, Budget
from trainmaster.errors import NotConfiguredError, TrainingRefusedError
from trainmaster.training.checking import Verdict
from trainmaster.training.circumstances import find_problems, look_around
from trainmaster.training.desk import Desk
from trainmaster.training.launching import launch_training
from trainmaster.training.outcome import bill_of, is_billed
from trainmaster.training.preparing import prepare_training
from trainmaster.training.problems import Problem
from trainmaster.training.request import TrainingRequest
from trainmaster.training.showing import plan_markdown, plan_text, plan_value
from trainmaster.training.tending import tend

DATA = "paid-launches"


@pytest.fixture(scope="module", autouse=True)
def data(embedded: Any) -> None:
    put_data(embedded)


@pytest.fixture
def desk(embedded: Any, tmp_path: Path) -> Iterator[Desk]:
    with desk_at(tmp_path, embedded.environment) as opened:
        yield opened


@pytest.fixture
def at(embedded: Any, tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """A desk of other settings."""
    opened: list[Any] = []

    def desk(**settings: Any) -> Desk:
        opened.append(desk_at(tmp_path, embedded.environment, **settings))
        return opened[-1].__enter__()  # type: ignore[no-any-return]

    yield desk
    for one in opened:
        one.__exit__(None, None, None)


@pytest.fixture
def fault(embedded: Any) -> Iterator[Callable[..., Any]]:
    yield lambda **rule: embedded.control("POST", "faults", rule)
    embedded.control("DELETE", "faults")


@pytest.fixture
def allow(embedded: Any) -> Iterator[Callable[..., Any]]:
    yield lambda quota, value: embedded.control("POST", "quotas", {"quota": quota, "value": value})
    embedded.control("DELETE", "quotas")


def request(desk: Desk, **choices: Any) -> TrainingRequest:
    given = {
        "model_name": "problems",
        "data_uri": f"s3://{desk.settings.bucket}/{DATA}/",
        "user_id": str(desk.settings.user_id),
        "max_runtime_seconds": 3600,
        "budget_limit": "5.00",
    }
    return TrainingRequest(**{**given, **choices})


def judged(desk: Desk, **choices: Any) -> Verdict:
    return find_problems(desk, request(desk, **choices))


def only(verdict: Verdict) -> Problem:
    (problem,) = verdict.problems
    return problem


def role(embedded: Any, service: Any) -> str:
    """A role that services may assume."""
    name = f"role-{uuid.uuid4().hex[:8]}"
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    created = embedded.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=policy)
    return str(created["Role"]["Arn"])


def test_where_all_is_well_there_is_no_problem_and_what_is_left_is_known(desk: Desk) -> None:
    verdict = judged(desk)
    assert (verdict.problems, verdict.notes) == ((), ())
    rooms = {room.quota.name: room for room in verdict.circumstances.rooms}
    assert set(rooms) == {
        quotas.of_type("ml.m5.large", spot=True), quotas.of_all_types(spot=True), quotas.of_one_job(spot=True),
        quotas.LONGEST_RUNTIME,
    }  # fmt: skip
    assert rooms[quotas.of_type("ml.m5.large", spot=True)].left == 40
    assert rooms[quotas.LONGEST_RUNTIME].quota.value == 432_000, "of which AWS tells the default only"


# The role


@pytest.mark.parametrize(
    ("arn", "said"),
    [
        ("arn:aws:iam::123456789012:role/nobody", "does not exist"),
        ("arn:aws:iam::999999999999:role/TrainmasterExecutionRole", "does not exist"),
        ("TrainmasterExecutionRole", "is not the ARN of an IAM role"),
        (None, "No role is set"),
    ],
)
def test_a_role_that_is_not_there_is_a_problem(at: Callable[..., Desk], arn: str | None, said: str) -> None:
    problem = only(judged(at(execution_role_arn=arn)))
    assert (problem.kind, said in problem.message) == ("role", True)


def test_a_role_that_trusts_another_service_is_a_problem_and_one_that_trusts_several_is_none(
    at: Callable[..., Desk], embedded: Any
) -> None:
    assert "does not trust" in only(judged(at(execution_role_arn=role(embedded, "ec2.amazonaws.com")))).message
    several = role(embedded, ["ec2.amazonaws.com", "sagemaker.amazonaws.com"])
    assert not judged(at(execution_role_arn=several)).problems


def test_what_iam_denies_us_to_see_is_a_note(desk: Desk, fault: Callable[..., Any]) -> None:
    fault(operation="GetRole", error="AccessDenied", status=403)
    verdict = judged(desk)
    assert not verdict.problems
    assert verdict.notes == (
        f"Whether SageMaker may assume {desk.settings.execution_role_arn} could not be checked: AWS answers AccessDenied.",
    )


def test_throttling_is_waited_out_and_when_it_lasts_told(desk: Desk, fault: Callable[..., Any], embedded: Any) -> None:
    fault(operation="GetRole", error="ThrottlingException", count=1)
    fault(operation="ListServiceQuotas", error="ThrottlingException", count=1)
    assert not judged(desk).problems
    embedded.control("DELETE", "faults")
    fault(operation="ListServiceQuotas", error="ThrottlingException")
    with pytest.raises(ClientError, match="ThrottlingException"):
        judged(desk)


# Buckets


def test_a_bucket_that_is_not_there_is_a_problem_with_the_setting_that_names_it(
    at: Callable[..., Desk], desk: Desk
) -> None:
    problem = only(judged(at(bucket="no-such-bucket-anywhere"), data_uri=f"s3://{desk.settings.bucket}/{DATA}/"))
    assert (problem.kind, "TRAINMASTER_BUCKET" in problem.remedy) == ("bucket", True)
    unset = only(judged(at(bucket=None), data_uri=f"s3://{desk.settings.bucket}/{DATA}/"))
    assert (unset.kind, "Set TRAINMASTER_BUCKET" in unset.remedy) == ("bucket", True)
    checkpoints = only(judged(desk, checkpoint_s3_uri="s3://no-such-bucket-anywhere/c"))
    assert (checkpoints.kind, "checkpoint_s3_uri" in checkpoints.remedy) == ("bucket", True)


@pytest.mark.parametrize(
    ("status", "region", "said"),
    [
        (200, "eu-west-1", "is in eu-west-1, and the job is to run in us-east-1"),
        (403, "eu-west-1", "is in eu-west-1, and the job is to run in us-east-1"),
        (403, "us-east-1", "S3 denies it"),
    ],
)
def test_a_bucket_of_another_region_or_owner_is_a_problem(desk: Desk, status: int, region: str, said: str) -> None:
    def answer(code: int, where: str) -> Callable[[BaseHTTPRequestHandler], None]:
        def head(call: BaseHTTPRequestHandler) -> None:
            call.send_response(code)
            call.send_header("x-amz-bucket-region", where)
            call.send_header("Content-Length", "0")
            call.end_headers()

        return head

    with serving() as server:
        server.answers = {f"/{desk.settings.bucket}": answer(200, "us-east-1"), "/elsewhere": answer(status, region)}
        s3 = boto3.client(
            "s3", endpoint_url=server.url(""), region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        with_s3 = replace(desk, client=lambda service: s3 if service == "s3" else desk.client(service))
        problem = only(judged(with_s3, checkpoint_s3_uri="s3://elsewhere/c"))
    assert (problem.kind, said in problem.message) == ("bucket", True)


# The network


def test_subnets_and_groups_are_looked_up(desk: Desk, embedded: Any) -> None:
    ec2 = embedded.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName=uuid.uuid4().hex, Description="g", VpcId=vpc)["GroupId"]
    assert not judged(desk, subnets=[subnet], security_groups=[group]).problems
    missing = judged(desk, subnets=[subnet, "subnet-0"], security_groups=["sg-0"]).problems
    assert [(each.kind, each.message) for each in missing] == [
        ("network", "There is no subnet subnet-0 in us-east-1."),
        ("network", "There is no security group sg-0 in us-east-1."),
    ]


def test_a_network_nobody_may_look_at_is_a_note(desk: Desk, fault: Callable[..., Any]) -> None:
    fault(operation="DescribeSubnets", error="UnauthorizedOperation", status=403)
    fault(operation="DescribeSecurityGroups", error="UnauthorizedOperation", status=403)
    verdict = judged(desk, subnets=["subnet-0"], security_groups=["sg-0"])
    assert (len(verdict.problems), len(verdict.notes)) == (0, 2)


def test_keys_are_looked_up(desk: Desk, embedded: Any, fault: Callable[..., Any]) -> None:
    kms = embedded.client("kms")
    key, off = (kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(2))
    kms.disable_key(KeyId=off)
    assert not judged(desk, output_kms_key=key, volume_kms_key=key).problems
    problems = judged(desk, output_kms_key=off, volume_kms_key="alias/nobody").problems
    assert sorted(problem.message.split()[5] for problem in problems) == sorted([off, "alias/nobody"])
    fault(operation="DescribeKey", error="AccessDeniedException")
    verdict = judged(desk, output_kms_key=off)
    assert (len(verdict.problems), len(verdict.notes)) == (0, 1)


# Quotas


def test_a_quota_of_none_is_a_problem_that_aws_agrees_with(desk: Desk, embedded: Any) -> None:
    problem = only(judged(desk, instance_type="ml.p4d.24xlarge", budget_limit="100.00"))
    name = "ml.p4d.24xlarge for spot training job usage"
    assert (problem.kind, f"{name!r}" in problem.message, "is 0; this job needs 1" in problem.message) == (
        "quota",
        True,
        True,
    )
    code = problem.message.partition("(")[2].partition(")")[0]
    known = embedded.client("service-quotas").get_service_quota(ServiceCode="sagemaker", QuotaCode=code)
    assert known["Quota"]["QuotaName"] == name
    assert f"--quota-code {code} --desired-value 1" in problem.remedy
    plan = job_plan(embedded, BRIEF, instance_type="ml.p4d.24xlarge", budget_limit=Decimal(100))
    asked = {member: value for member, value in plan.create_request.items() if member != "ExperimentConfig"}
    with pytest.raises(ClientError, match=f"'{name}' is 0 Instances"):
        desk.client("sagemaker").create_training_job(**asked)


def test_what_our_own_open_jobs_use_is_not_left(desk: Desk, embedded: Any, allow: Callable[..., Any]) -> None:
    allow(quotas.of_type("ml.m5.large", spot=True), 3)
    plan = job_plan(embedded, BRIEF, instance_count=2)
    sagemaker = desk.client("sagemaker")
    launch_training(desk, plan)
    room = look_around(desk, request(desk)).room(quotas.of_type("ml.m5.large", spot=True))
    assert room
    assert (room.left, room.used, room.jobs) == (1, 2, (plan.job_name,))
    problem = only(judged(desk, instance_count=2))
    assert f"is 3, and 2 in use by {plan.job_name}; this job needs 2" in problem.message
    assert not judged(desk, instance_count=2, use_spot_instances=False).problems, "that is another quota"
    assert look_around(desk, plan.request, plan.job_name).launched, "and of itself a job is not in the way"
    assert not find_problems(desk, plan.request, job_name=plan.job_name).problems
    tend(desk, plan.job_name, described(sagemaker, plan.job_name, "Completed", "Failed"))
    assert not judged(desk, instance_count=2).problems, "it has ended"


def test_quotas_nobody_may_read_are_a_note(desk: Desk, fault: Callable[..., Any]) -> None:
    fault(operation="ListServiceQuotas", error="AccessDeniedException")
    verdict = judged(desk, instance_type="ml.p4d.24xlarge", budget_limit="100.00")
    assert not verdict.problems
    assert verdict.notes == ("Whether the quotas suffice could not be checked: AWS answers AccessDeniedException.",)


def test_a_runtime_above_the_default_quota_is_a_problem(desk: Desk, allow: Callable[..., Any]) -> None:
    long = {"max_runtime_seconds": 432_001, "budget_limit": "20.00"}
    assert only(judged(desk, **long)).kind == "quota"
    allow(quotas.LONGEST_RUNTIME, 432_001)
    assert not judged(desk, **long).problems


def test_a_warm_pool_needs_a_quota_of_its_own(desk: Desk) -> None:
    warm = {"use_spot_instances": False, "warm_pool_seconds": 600}
    assert "'ml.m5.large for training warm pool usage'" in only(judged(desk, **warm)).message
    assert not judged(desk, instance_type="ml.m7i.large", **warm).problems


# Budgets


def test_each_budget_with_too_little_left_is_a_problem(desk: Desk) -> None:
    user = Budget("user", str(desk.settings.user_id))
    desk.ledger.set_limit(ACCOUNT, Decimal("0.06"), set_by="test")
    desk.ledger.set_limit(user, Decimal("0.01"), set_by="test")
    of_account, of_user = judged(desk).problems
    assert (of_account.kind, of_user.kind) == ("budget", "budget")
    assert "$0.06" in of_account.message
    assert "of the account is left" in of_account.message
    assert "of user" in of_user.message
    assert "a budget_limit of $0.06" in of_account.remedy
    assert not judged(desk, on_over_budget="ask").problems


# All together, the way a launch asks


def test_a_launch_is_refused_with_everything_that_is_wrong_with_it(
    at: Callable[..., Desk], allow: Callable[..., Any]
) -> None:
    allow(quotas.of_type("ml.m5.large", spot=True), 0)
    desk = at(
        execution_role_arn="arn:aws:iam::123456789012:role/nobody", bucket="no-such-bucket-anywhere", user_id=None
    )
    desk.ledger.set_limit(ACCOUNT, Decimal("0.01"), set_by="test")
    wrong = request(
        desk,
        user_id="",
        platform="lambda-labs",
        instance_types=["ml.nope.large"],
        subnets=["subnet-0"],
        max_runtime_seconds=7200,
        max_wait_seconds=3600,
        warm_pool_seconds=60,
    )
    with pytest.raises(TrainingRefusedError) as refused:
        prepare_training(desk, wrong)
    kinds = [problem.kind for problem in refused.value.problems]
    expected = [
        "platform",
        "instance_type",
        "request",
        "role",
        "bucket",
        "network",
        "network",
        "spot",
        "spot",
        "quota",
        "budget",
    ]
    assert len(set(refused.value.problems)) == len(kinds) >= 10
    for kind in set(expected):
        assert kinds.count(kind) >= expected.count(kind), (kind, str(refused.value))
    assert "10. " in str(refused.value)
    assert not list(desk.deployments.open_jobs())
    assert not desk.ledger.open_reservations()


def test_a_plan_shows_costs_budgets_quotas_and_the_request_whole(desk: Desk) -> None:
    desk.ledger.set_limit(ACCOUNT, Decimal("50.00"), set_by="test")
    plan = prepare_training(desk, request(desk, model_name="shown"))
    text, markdown, value = plan_text(plan), plan_markdown(plan), plan_value(plan)
    assert json.loads(text.partition("CreateTrainingJob\n")[2]) == plan.create_request
    for said in (plan.job_name, "$50.00 of", "40 of 40 left", "At worst", "Likely"):
        assert said in text, text
    assert "\\$50.00 of" in markdown
    assert json.loads(json.dumps(value)) == value
    assert {each["budget"]: each["left_usd"] for each in value["budgets"]}["account"] == "50.00"
    assert value["quotas"][-1]["left"] == 40


# A warm pool's bill


def test_a_job_with_a_warm_pool_is_settled_when_the_pool_is_over_and_with_it(desk: Desk, embedded: Any) -> None:
    kept = {"InstanceType": "ml.m7i.large", "InstanceCount": 1, "VolumeSizeInGB": 30, "KeepAlivePeriodInSeconds": 3600}
    plan = job_plan(
        embedded, BRIEF, create={"ResourceConfig": kept}, instance_type="ml.m7i.large", use_spot_instances=False,
        warm_pool_seconds=3600,
    )  # fmt: skip
    sagemaker = desk.client("sagemaker")
    launch_training(desk, plan)
    ended = described(sagemaker, plan.job_name, "Completed", "Failed")
    assert (ended["WarmPoolStatus"]["Status"], is_billed(ended, desk.ledger.now())) == ("Available", False)
    tended = tend(desk, plan.job_name, ended)
    assert tended.reservation
    assert tended.deployment
    assert (tended.reservation.is_open, tended.deployment.status) == (True, "completed")
    assert [job.deployment_id for job in desk.deployments.open_jobs()] == [plan.job_name], (
        "so that it is looked at again"
    )

    sagemaker.update_training_job(TrainingJobName=plan.job_name, ResourceConfig={"KeepAlivePeriodInSeconds": 0})
    over = sagemaker.describe_training_job(TrainingJobName=plan.job_name)
    assert is_billed(over, desk.ledger.now())
    settled = tend(desk, plan.job_name, over)
    seconds = over["BillableTimeInSeconds"] + over["WarmPoolStatus"]["ResourceRetainedBillableTimeInSeconds"]
    assert settled.reservation
    assert (
        settled.reservation.bill
        == bill_of(over, plan.approval.rate)
        == (plan.approval.rate.cost(seconds)).quantize(Decimal("0.000001"))
    )
    assert settled.deployment
    assert settled.deployment.has_ended
    assert settled.deployment.actual_cost == settled.reservation.bill
    assert not list(desk.deployments.open_jobs())


# The policy


def test_what_the_policy_does_not_give_is_refused_and_what_it_gives_is_launched(
    at: Callable[..., Desk], tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        "default_role: small\nroles:\n  small:\n    instance_types: [ml.m5.*]\n    required_tags: [project]\n"
    )
    desk = at(policy_file=file)
    with pytest.raises(TrainingRefusedError) as refused:
        prepare_training(desk, request(desk, instance_type="ml.c5.xlarge"))
    assert [problem.kind for problem in refused.value.problems] == ["policy", "policy"]
    assert "Nearest allowed: ml.m5.xlarge." in str(refused.value)
    assert prepare_training(desk, request(desk, tags={"project": "cats"})).job_name


def test_without_a_policy_nothing_is_launched_and_what_was_is_followed_all_the_same(
    at: Callable[..., Desk], embedded: Any, tmp_path: Path
) -> None:
    desk = at(policy_file=tmp_path / "lost.yaml")
    with pytest.raises(NotConfiguredError, match=r"lost\.yaml cannot be read"):
        judged(desk)
    plan = job_plan(embedded, BRIEF)
    launch_training(desk, plan)
    assert not find_problems(desk, plan.request, job_name=plan.job_name).problems
