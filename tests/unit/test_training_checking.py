"""Everything that is wrong with a request is said at once, each with its numbers and what to do; nothing that is right is."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.aws import quotas
from trainmaster.aws.quotas import Quota
from trainmaster.budget.approval import ENDING_SECONDS
from trainmaster.budget.budgets import ACCOUNT, Budget, Standing
from trainmaster.budget.prices import Price, PriceList, shipped_prices
from trainmaster.training.checking import Bucket, Circumstances, Role, Room, Verdict, judge
from trainmaster.training.problems import Problem
from trainmaster.training.request import TrainingRequest
from trainmaster.training.sizing import MemoryNeed, memory_need
from trainmaster.workspaces.policy.rules import Policy

USER = UUID("7153111e-0000-4000-8000-000000000001")
ROLE = "arn:aws:iam::123456789012:role/Trainer"
FINE = Circumstances("us-east-1", Role(ROLE, "usable"), (Bucket("lab", "usable", "TRAINMASTER_BUCKET"),))
SPOT_TYPE, ALL_SPOT = quotas.of_type("ml.m5.large", spot=True), quotas.of_all_types(spot=True)


def request(**choices: Any) -> TrainingRequest:
    given_ = {"model_name": "cats", "data_uri": "s3://lab/data/", "user_id": str(USER), "max_runtime_seconds": 3600}
    return TrainingRequest(**{**given_, **choices})


def judged(
    around: Circumstances = FINE, *, checkpoints: bool = True, need: MemoryNeed | None = None, **choices: Any
) -> Verdict:
    return judge(request(**choices), around, shipped_prices(), checkpoints=checkpoints, need=need)


def only(verdict: Verdict) -> Problem:
    (problem,) = verdict.problems
    return problem


def room(name: str, value: int, used: int = 0, *jobs: str) -> Room:
    return Room(Quota(name, "L-1234", value), used, jobs)


def standing(left: str, budget: Budget = ACCOUNT, limit: str = "50") -> Standing:
    return Standing(budget, "2026-11", Decimal(limit), Decimal(limit) - Decimal(left), Decimal(0))


def test_a_request_that_is_right_has_no_problem_and_an_approval() -> None:
    verdict = judged()
    assert (verdict.problems, verdict.notes) == ((), ())
    assert verdict.approval
    assert verdict.approval.max_runtime_seconds == 3600


# Where and on what


@pytest.mark.parametrize("platform", ["lambda", "Lambda-Labs", "lambda_labs", "LAMBDALABS"])
def test_lambda_labs_is_refused_with_the_same_on_sagemaker_and_both_costs(platform: str) -> None:
    problem = only(judged(platform=platform, instance_type="ml.g5.xlarge"))
    assert (problem.kind, "Lambda Labs" in problem.message) == ("platform", True)
    assert "gpu_1x_a10 (1 × A10 24 GB) cost $1.29 an hour" in problem.remedy
    assert "Train on ml.g5.xlarge (1 × A10G 24 GB) instead: $1.408 an hour in us-east-1" in problem.remedy


def test_without_a_type_of_either_all_equivalents_are_told() -> None:
    problem = only(judged(platform="lambda"))
    assert all(kind in problem.remedy for kind in ("ml.g5.xlarge", "ml.p4d.24xlarge", "ml.p5.48xlarge"))
    assert len(problem.remedy) < 300


def test_at_a_retired_platform_an_unknown_type_is_told_as_well() -> None:
    kinds = {problem.kind for problem in judged(platform="lambda_labs", instance_type="ml.g5.xlrge").problems}
    assert kinds == {"platform", "instance_type"}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("gpu_8x_a100", "ml.p4d.24xlarge"), ("gpu_8x_h100_sxm5", "ml.p5.48xlarge"), (" GPU_1x_A10 ", "ml.g5.xlarge")],
)
def test_an_instance_of_theirs_is_refused_by_its_equivalent_and_not_as_unknown(theirs: str, ours: str) -> None:
    problem = only(judged(instance_type=theirs))
    price = shipped_prices().instance(ours, "training", "us-east-1").usd
    assert problem.kind == "platform"
    assert f"Train on {ours}" in problem.remedy
    assert f"${price} an hour" in problem.remedy


def test_one_of_theirs_that_nobody_knows_is_refused_with_those_that_are_known() -> None:
    problem = only(judged(instance_type="gpu_4x_z80"))
    assert "gpu_4x_z80, an unknown type, is not to be had" in problem.message
    assert (problem.kind, "ml.p4de.24xlarge" in problem.remedy) == ("platform", True)


def test_an_equivalent_without_a_price_in_the_region_is_named_all_the_same() -> None:
    around = replace(FINE, region="eu-north-1")
    problem = only(judged(around, platform="lambda", instance_type="gpu_8x_a100"))
    assert "is ml.p4d.24xlarge, of no known price in eu-north-1" in problem.remedy


def test_any_other_platform_is_refused() -> None:
    problem = only(judged(platform="azure"))
    assert (problem.kind, problem.message) == ("platform", "There is no platform 'azure'.")


def test_a_type_that_is_none_is_refused_with_those_that_are_near() -> None:
    problem = only(judged(instance_type="ml.g5.2xlage"))
    assert (problem.kind, "'ml.g5.2xlage'" in problem.message) == ("instance_type", True)
    assert "ml.g5.2xlarge" in problem.remedy


def test_a_type_without_a_price_in_the_region_is_refused() -> None:
    prices = PriceList(
        [Price("eu-west-1", "training", "ml.g5.xlarge", Decimal(2), "2026-11-01", "test"), *shipped_prices()]
    )
    around = replace(FINE, region="eu-west-1")
    missing = judge(request(instance_type="ml.g5.2xlarge"), around, prices)
    assert only(missing).kind == "price"
    assert "No training price is known for ml.g5.2xlarge in eu-west-1." in only(missing).message
    assert "ml.g5.xlarge" in only(missing).remedy
    nothing = only(judged(replace(FINE, region="eu-north-1")))
    assert (nothing.kind, "at all" in nothing.message) == ("price", True)
    assert "trainmaster prices refresh --region eu-north-1" in nothing.remedy


def test_each_fallback_type_is_checked_as_well() -> None:
    verdict = judged(instance_types=["ml.m5.large", "ml.m5.xlarge", "ml.nope.large", "ml.m5.xlage", "ml.nope.large"])
    assert [problem.kind for problem in verdict.problems] == ["instance_type", "instance_type"]


def test_somebody_has_to_be_the_user() -> None:
    problem = only(judged(user_id=""))
    assert (problem.kind, "TRAINMASTER_USER_ID" in problem.remedy) == ("request", True)


# What the job is given


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("unset", "No role is set"), ("malformed", "is not the ARN of an IAM role"), ("missing", "does not exist"),
        ("untrusting", "does not trust sagemaker.amazonaws.com"),
    ],
)  # fmt: skip
def test_a_role_that_sagemaker_cannot_assume_is_refused(state: Any, said: str) -> None:
    problem = only(judged(replace(FINE, role=Role(ROLE, state))))
    assert (problem.kind, said in problem.message) == ("role", True)


def test_a_role_nobody_may_read_is_a_note_and_no_problem() -> None:
    verdict = judged(replace(FINE, role=Role(ROLE, "unreadable"), notes=("Whether … AWS answers AccessDenied.",)))
    assert (verdict.problems, verdict.notes) == ((), ("Whether … AWS answers AccessDenied.",))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("unset", "No bucket is set"), ("missing", "'lab' does not exist"), ("forbidden", "S3 denies it"),
        ("elsewhere", "'lab' is in eu-west-1, and the job is to run in us-east-1"),
    ],
)  # fmt: skip
def test_a_bucket_that_cannot_be_used_is_refused_with_the_setting_that_names_it(state: Any, said: str) -> None:
    bucket = Bucket("lab", state, "checkpoint_s3_uri", "eu-west-1")
    problem = only(judged(replace(FINE, buckets=(bucket,))))
    assert (problem.kind, said in problem.message, "checkpoint_s3_uri" in problem.remedy) == ("bucket", True, True)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"subnets": ["subnet-1"]}, "Subnets are given without security groups."),
        ({"security_groups": ["sg-1"]}, "Security groups are given without subnets."),
    ],
)
def test_subnets_and_security_groups_come_together(choices: dict[str, Any], said: str) -> None:
    problem = only(judged(**choices))
    assert (problem.kind, problem.message) == ("network", said)


def test_subnets_and_groups_that_are_not_there_are_all_named() -> None:
    around = replace(FINE, missing_subnets=("subnet-1", "subnet-2"), missing_groups=("sg-1",))
    problems = judged(around, subnets=["subnet-1", "subnet-2"], security_groups=["sg-1"]).problems
    assert [problem.kind for problem in problems] == ["network", "network"]
    assert "subnet-1, subnet-2" in problems[0].message
    assert "sg-1" in problems[1].message


def test_keys_that_cannot_be_used_are_refused() -> None:
    problems = judged(
        replace(FINE, unusable_keys=("k-1",)), output_kms_key="k-1", volume_kms_key="k-2", instance_type="ml.g5.xlarge",
        budget_limit=Decimal(10),
    ).problems  # fmt: skip
    assert [problem.kind for problem in problems] == ["request", "request"]
    assert "ml.g5.xlarge has disks of its own" in problems[0].message
    assert "no KMS key k-1 in us-east-1" in problems[1].message
    assert not judged(volume_kms_key="k-2").problems


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"max_wait_seconds": 3599}, "max_wait_seconds is 3599, less than max_runtime_seconds, 3600"),
        ({"warm_pool_seconds": 60}, "AWS keeps no spot instances"),
        ({"use_spot_instances": False, "max_wait_seconds": 7200}, "use_spot_instances is off"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_spot_or_without_it_is_refused(choices: dict[str, Any], said: str) -> None:
    problem = only(judged(**choices))
    assert (problem.kind, said in problem.message) == ("spot", True)


def test_a_long_spot_job_needs_checkpoints_and_no_other_does() -> None:
    long = {"max_runtime_seconds": 3601, "checkpoints": False}
    problem = only(judged(**long))
    assert (problem.kind, "for 3601 s" in problem.message, "at most 3600" in problem.remedy) == ("spot", True, True)
    assert not judged(**{**long, "checkpoints": True}).problems
    assert not judged(**long, use_spot_instances=False).problems
    assert not judged(**{**long, "max_runtime_seconds": 3600}).problems


def test_it_is_the_runtime_the_budget_pays_for_that_is_long_or_not() -> None:
    # $0.10 pays for some 50 minutes of ml.m5.large, so the job cannot run for the day that was asked for
    verdict = judged(max_runtime_seconds=86400, checkpoints=False, budget_limit=Decimal("0.10"))
    assert not verdict.problems
    assert "The longest runtime is cut from 86400 s to" in verdict.notes[0]


# What the account allows


def test_no_quota_is_refused_with_its_code_and_what_to_ask_for() -> None:
    problem = only(judged(replace(FINE, rooms=(room(SPOT_TYPE, 0),)), instance_count=2))
    assert problem.kind == "quota"
    assert problem.message == f"The quota {SPOT_TYPE!r} (L-1234) is 0; this job needs 2."
    assert (
        "aws service-quotas request-service-quota-increase --region us-east-1 --service-code sagemaker"
        " --quota-code L-1234 --desired-value 2" in problem.remedy
    )
    assert "Wait" not in problem.remedy


def test_a_quota_that_is_in_use_is_refused_with_who_uses_it() -> None:
    problem = only(judged(replace(FINE, rooms=(room(SPOT_TYPE, 4, 3, "dogs-1", "birds-2"),)), instance_count=2))
    assert "is 4, and 3 in use by dogs-1, birds-2; this job needs 2" in problem.message
    assert problem.remedy.startswith("Wait until those have ended, or ask")
    assert "--desired-value 5" in problem.remedy


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        (ALL_SPOT, {}),
        (quotas.of_one_job(spot=True), {}),
        (quotas.of_type("ml.m5.large", spot=False), {"use_spot_instances": False}),
        (quotas.of_warm_pools("ml.m5.large"), {"use_spot_instances": False, "warm_pool_seconds": 60}),
    ],
)
def test_each_quota_is_looked_at_when_it_counts(name: str, choices: dict[str, Any]) -> None:
    assert only(judged(replace(FINE, rooms=(room(name, 0),)), **choices)).kind == "quota"


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        (SPOT_TYPE, {"use_spot_instances": False}),
        (quotas.of_type("ml.m5.large", spot=False), {}),
        (quotas.of_type("ml.m5.xlarge", spot=True), {}),
        (quotas.of_warm_pools("ml.m5.large"), {}),
    ],
)
def test_no_quota_is_looked_at_when_it_does_not(name: str, choices: dict[str, Any]) -> None:
    assert not judged(replace(FINE, rooms=(room(name, 0),)), **choices).problems


def test_a_runtime_above_its_quota_is_refused_with_both() -> None:
    around = replace(FINE, rooms=(room(quotas.LONGEST_RUNTIME, 1800),))
    problem = only(judged(around))
    assert (problem.kind, "for 3600 s" in problem.message, "is 1800 s" in problem.message) == ("quota", True, True)
    assert "--desired-value 3600" in problem.remedy


def test_a_budget_limit_that_pays_for_nothing_useful_is_refused_with_cheaper_types() -> None:
    problem = only(judged(instance_type="ml.p4d.24xlarge", budget_limit=Decimal("1.00")))
    assert (problem.kind, "$4.21" in problem.message, "budget_limit is $1.00" in problem.message) == (
        "budget",
        True,
        True,
    )
    assert "raise budget_limit to at least $4.21" in problem.remedy


def test_each_budget_that_has_too_little_left_is_named_with_both_numbers_and_what_would_fit() -> None:
    user, team = Budget("user", str(USER)), Budget("team", "vision")
    around = replace(FINE, standings=(standing("20"), standing("0.50", team), standing("0.02", user)))
    verdict = judged(around, instance_type="ml.g5.xlarge", team="vision")
    of_team, of_user = verdict.problems
    assert [of_team.kind, of_user.kind] == ["budget", "budget"]
    assert "The job may cost $1.53; $0.50 of November 2026's $50.00 of team vision is left." in of_team.message
    assert "ml.g4dn" not in of_team.remedy, "an unknown model needs a GPU as large as the one asked for"
    assert "a budget_limit of $0.50" in of_team.remedy
    assert "or let somebody decide: on_over_budget ask" in of_user.remedy
    assert f"Have the budget raised (`trainmaster budget set 51.52 --user {USER}`)" in of_user.remedy


def test_a_budget_without_a_limit_and_one_with_enough_are_no_problem() -> None:
    worst = judged().approval
    assert worst
    exactly = standing(str(worst.worst_case.quantize(Decimal("0.000001"), "ROUND_UP")))
    without = Standing(ACCOUNT, "2026-11", None, Decimal(99), Decimal(0))
    assert not judged(replace(FINE, standings=(exactly, without))).problems


def test_who_wants_to_be_asked_is_not_refused_for_a_monthly_budget() -> None:
    verdict = judged(replace(FINE, standings=(standing("0.01"),)), on_over_budget="ask")
    assert not verdict.problems
    assert "$0.01 of November 2026's $50.00 of the account is left" in verdict.notes[0]
    assert "only if somebody approves it" in verdict.notes[0]


def test_a_warm_pool_is_part_of_the_worst_case() -> None:
    verdict = judged(use_spot_instances=False, warm_pool_seconds=1800)
    assert verdict.approval
    assert verdict.approval.worst_case == verdict.approval.rate.cost(3600 + ENDING_SECONDS + 1800)
    assert (
        "1800 s in a warm pool"
        in only(judged(use_spot_instances=False, warm_pool_seconds=1800, budget_limit=Decimal("0.05"))).message
    )


# Together


def everything_wrong() -> Verdict:
    around = Circumstances(
        "us-east-1",
        Role(ROLE, "missing"),
        (Bucket("lab", "missing", "TRAINMASTER_BUCKET"),),
        (room(SPOT_TYPE, 0), room(quotas.LONGEST_RUNTIME, 1800)),
        (standing("0.01"), standing("0.01", Budget("team", "vision"))),
    )
    return judged(
        around,
        checkpoints=False,
        platform="azure",
        instance_types=["ml.nope.large"],
        user_id="",
        team="vision",
        subnets=["subnet-1"],
        max_runtime_seconds=7200,
        max_wait_seconds=3600,
        warm_pool_seconds=60,
    )


def test_all_that_is_wrong_is_said_at_once() -> None:
    kinds = [problem.kind for problem in everything_wrong().problems]
    assert sorted(kinds) == sorted([
        "platform", "instance_type", "request", "role", "bucket", "network", "spot", "spot", "spot", "quota", "quota",
        "budget", "budget",
    ])  # fmt: skip


def test_every_problem_is_two_sentences_of_which_the_second_says_what_to_do() -> None:
    for problem in everything_wrong().problems:
        assert problem.message.endswith("."), problem
        assert problem.remedy, problem
        assert problem.message != problem.remedy


def test_of_a_job_launched_before_nothing_is_asked_again_but_its_price() -> None:
    around = Circumstances(
        "us-east-1", Role(ROLE, "missing"), (Bucket("lab", "missing", "TRAINMASTER_BUCKET"),), (room(SPOT_TYPE, 0),),
        (standing("0"),), launched=True,
    )  # fmt: skip
    verdict = judged(around, checkpoints=False, max_runtime_seconds=7200)
    assert (verdict.problems, verdict.approval is not None) == ((), True)
    assert only(judged(around, instance_type="ml.nope.large")).kind == "instance_type"


def test_of_a_job_that_has_run_it_is_said_how_to_train_again() -> None:
    (note,) = judged(replace(FINE, launched=True, billed=Decimal("0.12")), attempt=3).notes
    assert "was billed $0.12" in note
    assert "Set attempt to 4" in note


# With a model of known size


def need_of(model: str, method: str) -> MemoryNeed:
    need = memory_need({"model_name": model, "training_method": "sft", "batch_size": 1, **HOW[method]})
    assert need
    return need


HOW = {
    "full": {"finetuning_type": "full"},
    "lora": {},
    "8bit": {"quantization": "8bit"},
    "4bit": {"quantization": "4bit"},
}


def test_only_types_that_hold_the_model_are_suggested() -> None:
    need = need_of("llama-2-7b", "lora")  # about 18 GB: more than a T4 has
    verdict = judged(replace(FINE, standings=(standing("1.40"),)), instance_type="ml.g5.4xlarge", need=need)
    remedy = only(verdict).remedy
    assert "ml.g5.xlarge" in remedy or "ml.g6" in remedy
    assert not any(kind in remedy for kind in ("ml.g4dn", "ml.m5", "ml.c5", "ml.r7i"))


@given(
    left=st.integers(1, 100_000).map(lambda cents: Decimal(cents) / 100),
    billions=st.sampled_from([0.5, 1.0, 3.0, 7.0, 13.0, 70.0]),
    method=st.sampled_from(["full", "lora", "8bit", "4bit"]),
    count=st.integers(1, 4),
)
def test_what_is_suggested_holds_the_model_and_fits_what_is_left(
    left: Decimal, billions: float, method: Any, count: int
) -> None:
    need = need_of(f"m-{billions}b", method)
    verdict = judged(need=need, instance_type="ml.p5.48xlarge", instance_count=count, budget_limit=Decimal(1000))
    assert verdict.approval
    fitting, useful = dict(verdict.approval.others), dict(verdict.approval.useful)
    assert all(need.fits(kind, count) for kind in {**fitting, **useful})
    for choice in verdict.approval.cheaper(left):
        kind, _, smaller = choice.partition(" with a budget_limit of $")
        kind = kind.partition(" ")[0]
        assert kind == "a" or (useful[kind] <= Decimal(smaller) <= left if smaller else fitting[kind] <= left)


def test_where_nothing_fits_as_long_a_smaller_type_is_named_with_the_budget_that_is_left() -> None:
    around = replace(FINE, standings=(standing("0.0682"),))
    verdict = judged(around, instance_type="ml.m5.4xlarge", max_runtime_seconds=7200)
    [problem] = verdict.problems
    assert ".xlarge with a budget_limit of $0.06" in problem.remedy


def test_a_type_too_small_for_the_model_is_a_note() -> None:
    verdict = judged(need=need_of("Llama-70B", "full"), instance_type="ml.g5.xlarge")
    assert not verdict.problems
    assert "Llama-70B (70 billion parameters, all its parameters, batches of 1 × 2048 tokens)" in verdict.notes[0]
    assert "1 × ml.g5.xlarge has 24 GB on each. It may run out of memory. It fits" in verdict.notes[0]


class TestPolicy:
    POLICY = Policy.model_validate(
        {
            "default_role": "researcher",
            "roles": {
                "researcher": {
                    "instance_types": ["ml.m5.*"],
                    "max_hourly_cost": "0.20",
                    "data_classifications": ["public"],
                    "required_tags": ["project"],
                },
                "owner": {},
            },
            "teams": {"board": "owner"},
        }
    )

    def judged(self, around: Circumstances = FINE, **choices: Any) -> Verdict:
        return judge(request(**choices), around, shipped_prices(), policy=self.POLICY)

    def test_what_the_role_does_not_have_is_said_with_all_the_other_problems(self) -> None:
        verdict = self.judged(instance_type="ml.g4dn.xlarge", user_id="", data_classification="secret")
        assert [problem.kind for problem in verdict.problems] == ["request", *["policy"] * 4]
        said = [problem.message.partition(":")[0] for problem in verdict.problems[1:]]
        assert said == ["instance_types", "max_hourly_cost", "data_classifications", "required_tags"]

    def test_what_the_role_has_is_no_problem(self) -> None:
        assert not self.judged(data_classification="public", tags={"project": "cats"}).problems

    def test_another_role_of_the_team_is_held_back_by_its_own_rules_alone(self) -> None:
        assert not self.judged(instance_type="ml.g4dn.xlarge", team="board").problems

    def test_fallbacks_are_held_against_it_too(self) -> None:
        allowed = {"data_classification": "public", "tags": {"project": "cats"}}
        problems = self.judged(instance_types=["ml.g4dn.xlarge"], **allowed).problems
        assert [problem.message.partition(":")[0] for problem in problems] == ["instance_types", "max_hourly_cost"]
        assert "Nearest allowed: ml.m5." in problems[0].remedy

    def test_that_nobody_knows_a_price_is_said_once(self) -> None:
        problems = self.judged(instance_type="ml.m5.huge", data_classification="public", tags={"project": "x"}).problems
        assert [problem.kind for problem in problems] == ["instance_type"]

    def test_a_job_that_was_launched_is_followed_whatever_the_policy_says_now(self) -> None:
        assert not self.judged(replace(FINE, launched=True), instance_type="ml.g4dn.xlarge").problems
