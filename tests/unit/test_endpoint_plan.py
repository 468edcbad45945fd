"""A deployment is a list of steps from what is to what should be."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from trainmaster.budget.prices import shipped_prices
from trainmaster.embedded.sagemaker import wire
from trainmaster.endpoints.desired import ChosenModels, Place, desired_endpoint
from trainmaster.endpoints.models.kinds.choosing import HOUSE_PRICES
from trainmaster.endpoints.models.package import ModelPackage
from trainmaster.endpoints.models.smoke import sample_inputs
from trainmaster.endpoints.plan import Described, Desired, plan_deployment
from trainmaster.endpoints.rehearsing import rehearsal_of
from trainmaster.endpoints.request import EndpointRequest, Rollout
from trainmaster.endpoints.rolling_back import require_affordable
from trainmaster.errors import NameConflictError, OverBudgetError, RefusedError, UnknownPriceError

REQUEST = EndpointRequest(model_uri="s3://bucket-1/model.tar.gz")
CARD = {
    "model_version": "v1",
    "features": {"sqft": {"min": 500, "max": 9000, "mean": 2000.4}},
    "target": {"max": 1_000_000},
}


def desired(
    request: EndpointRequest = REQUEST, sha256: str = "abc", role: str = "arn:aws:iam::123456789012:role/r"
) -> Desired:
    package = ModelPackage(request.model_uri, sha256, 1, CARD)
    return desired_endpoint(
        request, ChosenModels(package), Place("image", role, "us-east-1", "bucket-1"), shipped_prices()
    )


def kinds(described: Described, wanted: Desired | None = None) -> list[str]:
    return [step.kind for step in plan_deployment(wanted or desired(), described)]


def described(status: str | None, config: str | None, **known: Any) -> Described:
    """As AWS has it when a deployment of ours brought it there; `made` says that model and configuration are there."""
    made = known.pop("made", True)
    there = {"models": frozenset({desired().model_name}), "has_config": True} if made else {}
    tags = {"trainmaster:when-over": "warn", "trainmaster:keep-versions": "3"} if status else {}
    return Described(status, config, **{"tags": tags, **there, **known})


@pytest.mark.parametrize(
    ("described", "steps"),
    [
        (described(None, None, made=False), ["create-model", "create-config", "remember", "create-endpoint"]),
        (described(None, None), ["remember", "create-endpoint"]),
        (
            described("InService", "other", made=False),
            ["create-model", "create-config", "rehearse", "remember", "update-endpoint"],
        ),
        (described("InService", "other"), ["rehearse", "remember", "update-endpoint"]),
        (described("InService", "other", proof="proven"), ["remember", "update-endpoint"]),
        (
            described(
                "InService", "other", variants=({"VariantName": "all-traffic", "ModelName": desired().model_name},)
            ),
            ["remember", "update-endpoint"],
        ),
        (described("Failed", "other"), ["delete-endpoint", "remember", "create-endpoint"]),
        (described("InService", desired().config_name), []),
    ],
    ids=[
        "nothing there",
        "made already",
        "another serves",
        "made and another serves",
        "proven before",
        "of the same model",
        "failed",
        "serves",
    ],
)
def test_the_plan_has_only_what_is_missing(described: Described, steps: list[str]) -> None:
    assert kinds(described) == steps


def test_a_model_that_was_only_listened_to_is_rehearsed_before_it_answers() -> None:
    serving = (
        {"VariantName": "all-traffic", "ModelName": "another"},
        {"VariantName": "shadow", "ModelName": desired().model_name},
    )
    assert kinds(described("InService", "other", variants=serving)) == ["rehearse", "remember", "update-endpoint"]


def test_nobody_can_deploy_an_endpoint_that_a_rehearsal_of_another_would_take_away() -> None:
    longest = desired(REQUEST.model_copy(update={"endpoint_name": "e" * 50}))
    name = rehearsal_of(longest).endpoint_name
    with pytest.raises(ValidationError, match="endpoint_name"):
        EndpointRequest(model_uri=REQUEST.model_uri, endpoint_name=name.removeprefix("e" * 40))
    model = wire.operation_model("CreateEndpoint")
    assert model is not None
    request = {"EndpointName": name, "EndpointConfigName": longest.config_name}
    assert wire.checked(model, request) == request


def test_a_rehearsal_can_be_left_out() -> None:
    hasty = desired(REQUEST.model_copy(update={"rollout": Rollout(rehearse=False)}))
    assert kinds(described("InService", "other"), hasty) == ["remember", "update-endpoint"]


@pytest.mark.parametrize("status", ["OutOfService", "UpdateRollbackFailed"])
def test_states_only_a_person_can_lead_out_of_are_explained(status: str) -> None:
    with pytest.raises(RefusedError, match=f"{status}.*[Rr]emove"):
        kinds(described(status, "other"))


@pytest.mark.parametrize("status", ["Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"])
def test_nothing_is_planned_for_an_endpoint_on_its_way(status: str) -> None:
    with pytest.raises(ValueError, match="wait"):
        kinds(described(status, "other"))


def test_an_endpoint_somebody_else_made_is_not_touched() -> None:
    with pytest.raises(NameConflictError, match="not made by Trainmaster"):
        kinds(described("InService", "theirs", ours=False))


@pytest.mark.parametrize("status", wire.service_model().shape_for("EndpointStatus").metadata["enum"])
def test_every_status_aws_knows_leads_to_steps_a_wait_or_an_explanation(status: str) -> None:
    if status in {"InService", "Failed"}:
        assert kinds(described(status, "other"))[-1] in {"create-endpoint", "update-endpoint"}
    else:
        with pytest.raises((RefusedError, ValueError), match=status):
            kinds(described(status, "other"))


def test_names_follow_from_content() -> None:
    assert desired() == desired()
    assert desired(sha256="abd").model_name != desired().model_name
    bigger = desired(REQUEST.model_copy(update={"instance_count": 2}))
    assert (bigger.model_name, bigger.config_name == desired().config_name) == (desired().model_name, False)


def test_the_requests_are_ones_aws_accepts_for_the_longest_names() -> None:
    longest = desired(REQUEST.model_copy(update={"endpoint_name": "e" * 50}))
    for operation, request in (("CreateModel", longest.model), ("CreateEndpointConfig", longest.config)):
        model = wire.operation_model(operation)
        assert model is not None
        assert wire.checked(model, request) == request


@pytest.mark.parametrize(
    "key", ["jobs/a [1], b (2)/model.tar.gz", f"{'long/' * 60}model.tar.gz"], ids=["signs", "long"]
)
def test_a_model_whose_address_no_tag_can_hold_is_deployed_all_the_same(key: str) -> None:
    wanted = desired(REQUEST.model_copy(update={"model_uri": f"s3://bucket-1/{key}"}))
    wire.checked(wire.operation_model("CreateEndpointConfig"), wanted.config)
    assert "trainmaster:model-uri" not in {tag["Key"] for tag in wanted.config["Tags"]}


def test_an_hour_dearer_than_approved_is_refused_with_what_would_fit() -> None:
    with pytest.raises(OverBudgetError, match=r"\$0\.69.*max_hourly_cost is \$0\.50") as refused:
        desired(REQUEST.model_copy(update={"instance_count": 6}))
    assert refused.value.approved == Decimal("0.50")


@pytest.mark.parametrize(("now", "limit"), [("0", "0.11"), ("0.11", "0.01")])
def test_going_back_to_what_costs_more_than_is_paid_and_was_approved_is_refused(now: str, limit: str) -> None:
    wanted = desired()
    require_affordable(wanted, wanted.hourly_cost, Decimal("0.01"))
    require_affordable(wanted, Decimal(0), wanted.hourly_cost)
    with pytest.raises(
        OverBudgetError, match=rf"{wanted.config_name} would cost .*max_hourly_cost is \${limit}.*0\.12"
    ):
        require_affordable(wanted, Decimal(now), Decimal(limit))


def test_an_endpoint_of_unknown_price_is_refused() -> None:
    with pytest.raises(UnknownPriceError):
        desired(REQUEST.model_copy(update={"instance_type": "ml.nope.large"}))


def test_a_smoke_test_asks_for_the_average_house() -> None:
    assert sample_inputs(CARD) == {"sqft": 2000}


@pytest.mark.parametrize(
    "answer",
    [{}, {"predicted_price": "1"}, {"predicted_price": True}, {"predicted_price": float("nan"), "model_version": "v1"},
     {"predicted_price": -1, "model_version": "v1"}, {"predicted_price": 3_000_001, "model_version": "v1"},
     {"predicted_price": 1, "model_version": "v0"}],
)  # fmt: skip
def test_an_implausible_answer_is_told(answer: dict[str, Any]) -> None:
    assert HOUSE_PRICES.implausible(answer, CARD)


def test_a_plausible_answer_passes() -> None:
    assert HOUSE_PRICES.implausible({"predicted_price": 425000, "model_version": "v1"}, CARD) is None
