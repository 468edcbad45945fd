"""The policy's word counts where endpoints are deployed, and the tags it asks for are where AWS counts them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desks import desk_at
from model_deployer import Deployer

from trainmaster.endpoints import deployment
from trainmaster.endpoints.deploying import settle, tags_of
from trainmaster.endpoints.watch.stopping import take_away
from trainmaster.errors import PolicyRefusedError

POLICY = "default_role: small\nroles:\n  small:\n    instance_types: [ml.m5.large]\n    required_tags: [project]\n"


@pytest.fixture
def deployer(embedded: Any, tmp_path: Path) -> Iterator[Deployer]:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    with desk_at(tmp_path, embedded.environment, poll_seconds=0.05, policy_file=file) as desk:
        made = Deployer(desk)
        yield made
        made.remove()


def test_what_the_policy_gives_is_deployed_with_its_tags_and_nothing_else_is(deployer: Deployer) -> None:
    model = deployer.model("v1")
    with pytest.raises(PolicyRefusedError) as refused:
        deployer.deploy(model, instance_type="ml.m5.xlarge")
    assert [one.rule for one in refused.value.violations] == ["instance_types", "required_tags"]
    assert deployer.standing() == (set(), set()), "nothing was made"

    deployer.deploy(model, tags={"project": "cats"})
    again, _, plan = deployer.planned(model, tags={"project": "dogs"})
    assert [step.kind for step in plan.steps] == ["set-tags"]
    deployer.deploy(model, tags={"project": "dogs"})
    assert tags_of(deployer.sagemaker, deployer.described()["EndpointArn"])["project"] == "dogs"
    assert again.tags == {"project": "dogs"}


def test_what_was_removed_is_brought_back_with_its_tags_unless_it_would_not_be_given_any_more(
    deployer: Deployer, tmp_path: Path
) -> None:
    deployer.deploy(deployer.model("v1"), tags={"project": "cats"}, data_classification="internal")
    assert take_away(deployer.sagemaker, deployer.described())
    settle(deployer.sagemaker, deployer.name, deployment.patience_of(deployer.desk.settings))

    (tmp_path / "policy.yaml").write_text(f"{POLICY}    data_classifications: [public]\n    max_hourly_cost: 0.01\n")
    with pytest.raises(PolicyRefusedError) as refused:
        deployer.back()
    assert [one.rule for one in refused.value.violations] == ["max_hourly_cost", "data_classifications"]

    (tmp_path / "policy.yaml").write_text(POLICY)
    deployer.back()
    assert tags_of(deployer.sagemaker, deployer.described()["EndpointArn"])["project"] == "cats"
