"""What the policy looks at in an endpoint, and the tags it may ask for."""

from __future__ import annotations

import argparse
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from trainmaster.budget.budgets import Payer
from trainmaster.budget.prices import shipped_prices
from trainmaster.commands.endpoints.options import REQUEST
from trainmaster.endpoints.allowed import asked_of, require_allowed
from trainmaster.endpoints.desired import ChosenModels, Place, desired_endpoint
from trainmaster.endpoints.models.package import ModelPackage
from trainmaster.endpoints.plan import ENDPOINT_TAG, Described, Desired, lifetime_tags, plan_deployment
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.errors import PolicyRefusedError
from trainmaster.main_job import TrainAndServeRequest
from trainmaster.training.request import TrainingChoices
from trainmaster.workspaces.policy.rules import Asked, Policy

MODEL = "s3://bucket-1/model.tar.gz"
ANNA = Payer(UUID(int=1), "vision")


def request(**choices: Any) -> EndpointRequest:
    return EndpointRequest(model_uri=MODEL, **{"max_hourly_cost": "100", **choices})


def asked(**choices: Any) -> Asked:
    return asked_of(request(**choices), ANNA, shipped_prices(), "us-east-1")


def desired(**choices: Any) -> Desired:
    place = Place("image", "arn:aws:iam::123456789012:role/r", "us-east-1", "bucket-1")
    package = ModelPackage(MODEL, "abc", 1, {})
    return desired_endpoint(request(**choices), ChosenModels(package), place, shipped_prices())


def serving(wanted: Desired, tags: dict[str, str]) -> Described:
    has = {ENDPOINT_TAG: wanted.endpoint_name, **lifetime_tags(wanted), **tags}
    return Described("InService", wanted.config_name, frozenset({wanted.model_name}), has_config=True, tags=has)


def test_it_costs_what_all_its_instances_may_cost() -> None:
    found = asked(instance_type="ml.m5.large", scaling={"max_instances": 3})
    assert (found.service, found.user_id, found.team) == ("endpoint", UUID(int=1), "vision")
    assert (found.instance_types, found.hourly_cost) == (("ml.m5.large",), Decimal("0.345"))
    assert found.choices["ml.m5.large"] == found.hourly_cost


def test_what_is_serverless_has_no_instance_type() -> None:
    found = asked(serverless={})
    assert (found.instance_types, dict(found.choices)) == ((), {})
    assert found.hourly_cost


@pytest.mark.parametrize(
    ("lifetime", "minutes"),
    [({}, None), ({"idle_minutes": 30}, None), ({"idle_minutes": 30, "when_over": "remove"}, 30)],
    ids=["none", "warn", "remove"],
)
def test_only_one_that_is_removed_when_idle_stops_by_itself(lifetime: dict[str, Any], minutes: int | None) -> None:
    assert asked(lifetime=lifetime).auto_stop_minutes == minutes


def test_all_that_a_role_does_not_have_is_refused_at_once() -> None:
    role = {"instance_types": ["ml.c5.*"], "max_hourly_cost": "0.15", "required_tags": ["project"]}
    policy = Policy.model_validate({"default_role": "small", "roles": {"small": role}})
    with pytest.raises(PolicyRefusedError, match="Endpoint cats is refused by the policy, for 3 reasons") as refused:
        require_allowed(policy, "cats", asked(instance_type="ml.m5.xlarge"))
    assert [one.rule for one in refused.value.violations] == ["instance_types", "max_hourly_cost", "required_tags"]
    assert refused.value.violations[0].nearest.startswith("ml.c5.")


def test_tags_are_on_all_that_is_made_and_name_nothing_anew() -> None:
    tagged, plain = desired(tags={"project": "cats"}, data_classification="public"), desired()
    assert (tagged.config_name, tagged.model_name) == (plain.config_name, plain.model_name)
    for made in (tagged.model, tagged.config):
        assert {"Key": "project", "Value": "cats"} in made["Tags"]
    assert {"Key": "trainmaster:data-classification", "Value": "public"} in tagged.config["Tags"]


def test_an_endpoint_that_serves_without_its_tags_gets_them_and_nothing_else() -> None:
    wanted = desired(tags={"project": "cats"})
    assert [step.kind for step in plan_deployment(wanted, serving(wanted, {}))] == ["set-tags"]
    assert plan_deployment(wanted, serving(wanted, {"project": "cats", "more": "of somebody's"})) == []


@pytest.mark.parametrize("key", ["aws:x", "trainmaster:endpoint", "Trainmaster:x", "", "a\n", "x" * 129])
def test_a_tag_that_aws_or_we_would_not_have_is_refused_before_anything_is_made(key: str) -> None:
    with pytest.raises(ValidationError, match=r"[Tt]ag"):
        request(tags={key: "1"})


def test_what_is_said_of_training_holds_for_what_serves_unless_it_says_otherwise() -> None:
    training = TrainingChoices(data_classification="internal", tags={"project": "cats", "grant": "7"}, team="vision")
    endpoint = {"tags": {"grant": "8"}}
    found = TrainAndServeRequest(training=training, endpoint=endpoint).serving()
    assert (found.data_classification, found.tags, found.team) == (
        "internal",
        {"project": "cats", "grant": "8"},
        "vision",
    )
    assert training.request("s3://bucket-1/data/").tags == {"project": "cats", "grant": "7"}


def test_tags_of_training_that_no_endpoint_can_have_are_refused_before_training() -> None:
    with pytest.raises(ValidationError, match="trainmaster:x"):
        TrainAndServeRequest(training=TrainingChoices(tags={"trainmaster:x": "1"})).serving()


def test_tags_are_typed_one_by_one() -> None:
    parser = argparse.ArgumentParser()
    REQUEST.add_to(parser)
    typed = ["--model-uri", MODEL, "--tags", "project=cats", "--tags", "grant=7=8", "--data-classification", "public"]
    found = REQUEST.read(parser.parse_args(typed))
    assert (found.tags, found.data_classification) == ({"project": "cats", "grant": "7=8"}, "public")
