"""What can be asked of an endpoint becomes what AWS is told, priced at its worst; what AWS has not got is refused at once."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainmaster.budget.prices import shipped_prices
from trainmaster.embedded.sagemaker import wire
from trainmaster.endpoints.alarms import alarm_names
from trainmaster.endpoints.desired import ChosenModels, Place, approve_hosting, desired_endpoint
from trainmaster.endpoints.models.package import ModelPackage
from trainmaster.endpoints.plan import CHALLENGER, SHADOW, VARIANT, Described, Desired, plan_deployment
from trainmaster.endpoints.request import EndpointRequest, Rollout, Scaling
from trainmaster.endpoints.rollout import deployment_config
from trainmaster.endpoints.scaling import scaling_tag, tagged_scaling
from trainmaster.errors import OverBudgetError, RefusedError

MAIN, OTHER = "s3://bucket-1/main.tar.gz", "s3://bucket-1/other.tar.gz"
HOURLY = Decimal("0.115")  # ml.m5.large, hosting, us-east-1
PLACE = Place("image", "arn:aws:iam::123456789012:role/r", "us-east-1", "bucket-1")


def asked(**choices: Any) -> EndpointRequest:
    return EndpointRequest(**{"model_uri": MAIN, "max_hourly_cost": "1000", **choices})


def desired(**choices: Any) -> Desired:
    request = asked(**choices)
    beside = {
        one: ModelPackage(OTHER, "def", 1, {}) for one in ("challenger", "shadow") if getattr(request, one) is not None
    }
    return desired_endpoint(request, ChosenModels(ModelPackage(MAIN, "abc", 1, {}), **beside), PLACE, shipped_prices())


def serving(wanted: Desired, **known: Any) -> Described:
    """In service with just that configuration, unless something else is known."""
    config = wanted.config
    given = {
        "status": "InService",
        "config_name": wanted.config_name,
        "models": frozenset(model["ModelName"] for model in wanted.models),
        "has_config": True,
        "proof": "proven",
        "good": wanted.config_name,
        "variants": (*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])),
        "scaling": dict.fromkeys(wanted.answering, wanted.scaling) if wanted.scaling else {},
        "alarms": frozenset(wanted.alarms),
        "tags": {"trainmaster:when-over": "warn", "trainmaster:keep-versions": "3"},
    }
    return Described(**{**given, **known})


CHOICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "serverless": {"serverless": {}},
    "scaled": {"scaling": {"max_instances": 4}},
    "captured": {"capture_percent": 10},
    "challenged": {"challenger": {"model_uri": OTHER}},
    "shadowed": {"shadow": {"model_uri": OTHER}},
    "watched": {"rollout": {"kind": "canary", "max_error_percent": 1, "max_latency_ms": 100}},
    "challenged, scaled and watched": {
        "challenger": {"model_uri": OTHER},
        "scaling": {},
        "rollout": {"max_error_percent": 1, "max_latency_ms": 100},
    },
}


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_aws_accepts_what_is_asked_of_it_and_what_serves_already_needs_nothing(choices: dict[str, Any]) -> None:
    wanted = desired(**choices)
    requests = [("CreateModel", model) for model in wanted.models]
    requests += [("CreateEndpointConfig", wanted.config)]
    update = {"EndpointName": wanted.endpoint_name, "EndpointConfigName": wanted.config_name}
    if rollout := deployment_config(wanted.rollout, [alarm.name for alarm in wanted.alarms]):
        update["DeploymentConfig"] = rollout
    for operation, request in [*requests, ("UpdateEndpoint", update)]:
        model = wire.operation_model(operation)
        assert model is not None
        assert wire.checked(model, request) == request
    assert plan_deployment(wanted, serving(wanted)) == []


@pytest.mark.parametrize("one", CHOICES)
def test_every_choice_that_runs_otherwise_is_a_configuration_of_its_own(one: str) -> None:
    others = {desired(**choices).config_name for name, choices in CHOICES.items() if name not in {one, "watched"}}
    assert (desired(**CHOICES[one]).config_name in others) == (
        one == "watched"
    )  # which is plain, but for the way there


WORST = {
    "2 instances": ({"instance_count": 2}, 2),
    "all that scaling may add": ({"scaling": {"max_instances": 5}}, 5),
    "a challenger as well": ({"challenger": {"model_uri": OTHER}, "instance_count": 3}, 6),
    "a challenger that scales as well": ({"challenger": {"model_uri": OTHER}, "scaling": {"max_instances": 5}}, 10),
    "a shadow as well": ({"shadow": {"model_uri": OTHER}, "scaling": {"max_instances": 5}}, 6),
}


@pytest.mark.parametrize(("choices", "instances"), WORST.values(), ids=WORST)
def test_an_hour_is_priced_at_its_worst(choices: dict[str, Any], instances: int) -> None:
    assert desired(**choices).hourly_cost == instances * HOURLY
    with pytest.raises(OverBudgetError):
        approve_hosting(asked(**choices, max_hourly_cost="0.10"), shipped_prices(), "us-east-1")


def test_a_serverless_hour_is_refused_by_the_price_of_all_its_places() -> None:
    with pytest.raises(OverBudgetError, match=r"20 serverless places of 2048 MB, all taken, would cost \$2\.88"):
        approve_hosting(
            asked(serverless={"max_concurrency": 20}, max_hourly_cost="0.50"), shipped_prices(), "us-east-1"
        )


REFUSED = {
    "both a model and a group": ({"model_group": "g"}, "either model_uri or model_group"),
    "a challenger beside a shadow": (
        {"challenger": {"model_uri": OTHER}, "shadow": {"model_uri": OTHER}},
        "single variant",
    ),
    "a serverless challenger": ({"challenger": {"model_uri": OTHER}, "serverless": {}}, "single variant"),
    "serverless capture": ({"capture_percent": 1, "serverless": {}}, "captures nothing"),
    "serverless canary": ({"rollout": {"kind": "canary"}, "serverless": {}}, "at once, without alarms"),
    "serverless scaling": ({"scaling": {}, "serverless": {}}, "exclude each other"),
    "a linear step of 5 %": ({"rollout": {"kind": "linear", "step_percent": 5}}, "10 to 50 %"),
    "a rollout of half a day": (
        {"rollout": {"kind": "linear", "step_percent": 10, "wait_seconds": 3600}},
        "wait for 36,000 s in all",
    ),
}


@pytest.mark.parametrize(("choices", "said"), REFUSED.values(), ids=REFUSED)
def test_what_aws_has_not_got_is_refused_before_anything_is_asked_of_it(choices: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        asked(**choices)


def test_weights_are_shares_and_a_shadow_gets_its_part_of_the_main_ones_traffic() -> None:
    production = desired(challenger={"model_uri": OTHER, "traffic_percent": 30}).config["ProductionVariants"]
    assert {one["VariantName"]: one["InitialVariantWeight"] for one in production} == {VARIANT: 0.7, CHALLENGER: 0.3}
    config = desired(shadow={"model_uri": OTHER, "sampling_percent": 20}).config
    [main], [beside] = config["ProductionVariants"], config["ShadowProductionVariants"]
    assert (main["InitialVariantWeight"], beside["InitialVariantWeight"]) == (1.0, 0.2)


@given(
    kind=st.sampled_from(["all-at-once", "canary", "linear"]),
    step=st.integers(10, 50),
    wait=st.integers(0, 2000),
    keep=st.integers(0, 3600),
)
def test_a_rollout_ends_by_itself_only_after_all_its_waits(kind: Any, step: int, wait: int, keep: int) -> None:
    rollout = Rollout(kind=kind, step_percent=step, wait_seconds=wait, keep_old_seconds=keep)
    told = deployment_config(rollout, ["alarm"])
    assert told is not None
    policy = told["BlueGreenUpdatePolicy"]
    assert 600 <= policy["MaximumExecutionTimeoutInSeconds"] <= 28_800
    waits = policy["TrafficRoutingConfiguration"]["WaitIntervalInSeconds"] + policy["TerminationWaitInSeconds"]
    assert waits <= rollout.waiting_seconds() < policy["MaximumExecutionTimeoutInSeconds"]


def test_what_was_asked_for_no_rollout_is_left_to_aws_and_alarms_alone_make_one() -> None:
    assert deployment_config(Rollout(), []) is None
    told = deployment_config(Rollout(max_error_percent=1), ["a", "b"])
    assert told is not None
    assert told["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": "a"}, {"AlarmName": "b"}]}
    assert told["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["Type"] == "ALL_AT_ONCE"


def test_alarms_are_fewer_than_the_ten_aws_takes_and_every_one_is_known_by_name() -> None:
    wanted = desired(**CHOICES["challenged, scaled and watched"])
    names = [alarm.name for alarm in wanted.alarms]
    assert len(names) == len(set(names)) == 6
    assert sorted(names) == sorted(alarm_names(wanted.endpoint_name, [VARIANT, CHALLENGER]))
    assert {alarm.variant for alarm in wanted.alarms} == {VARIANT, CHALLENGER}


def test_the_alarms_of_one_endpoint_are_no_others() -> None:
    """They are deleted with it, by name: an endpoint's name has no two hyphens in a row."""
    of_one, of_other = (set(alarm_names(name, [VARIANT, CHALLENGER])) for name in ("houses", "houses-challenger"))
    assert not of_one & of_other


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 1_000_000))
def test_a_tag_says_the_whole_of_autoscaling(one: int, other: int, target: int) -> None:
    scaling = Scaling(min_instances=min(one, other), max_instances=max(one, other), target_invocations=target)
    assert tagged_scaling(scaling_tag(scaling)) == scaling
    assert tagged_scaling(None) is tagged_scaling("3@2") is None


def test_an_update_keeps_counts_that_autoscaling_set_but_none_beyond_what_is_paid_for() -> None:
    old, new = desired(scaling={"max_instances": 4}), desired(scaling={"max_instances": 4}, capture_percent=1)
    for count, keeps in ((4, True), (5, False)):
        variants = tuple({**one, "InitialInstanceCount": count} for one in old.config["ProductionVariants"])
        known = {"models": frozenset({old.model_name}), "has_config": False, "proof": ""}
        [update] = [
            step for step in plan_deployment(new, serving(old, variants=variants, **known)) if "update" in step.kind
        ]
        assert update.keeps_counts == keeps


def test_what_just_failed_is_refused_with_its_reason_and_tried_again_by_force() -> None:
    other, failed = desired(capture_percent=1), {"proof": "failed", "failure": "no ping"}
    with pytest.raises(RefusedError, match=r"has tried .* before, and it failed: no ping.*set force"):
        plan_deployment(desired(), serving(other, **failed))
    steps = plan_deployment(desired(force=True), serving(other, **failed))
    assert steps[-1].kind == "update-endpoint"


def test_what_goes_wrong_comes_back_to_the_last_version_that_was_proven() -> None:
    unproven = desired(capture_percent=1)
    steps = plan_deployment(desired(), serving(unproven, good="proven-1", has_config=False, proof=""))
    assert [step.name for step in steps if step.kind == "remember"] == ["proven-1"]


def test_traffic_is_moved_by_steps_between_the_same_variants_only() -> None:
    wanted = desired(rollout={"kind": "linear"}, challenger={"model_uri": OTHER})
    with pytest.raises(
        RefusedError, match=r"serves all-traffic, and should serve all-traffic, challenger: .*all-at-once"
    ):
        plan_deployment(wanted, serving(desired(), proof=""))
    shadowed = desired(rollout={"kind": "linear"}, shadow={"model_uri": OTHER})
    assert plan_deployment(shadowed, serving(desired(), proof=""))[-1].kind == "update-endpoint"
    assert SHADOW not in shadowed.answering
