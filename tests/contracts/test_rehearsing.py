"""A new version answers the smoke test on an endpoint of its own before anybody else is answered by it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from desks import desk_at
from hosting import Hosting, archive

from trainmaster.budget.budgets import ACCOUNT, Payer
from trainmaster.budget.metering import Meters
from trainmaster.endpoints import deployment
from trainmaster.endpoints.applying import apply_plan
from trainmaster.endpoints.deploying import find_config, find_endpoint, settle, tag_list, tags_of
from trainmaster.endpoints.described import describe_endpoint
from trainmaster.endpoints.desired import ChosenModels
from trainmaster.endpoints.plan import EXPIRES_TAG, WHEN_OVER_TAG, Desired, plan_deployment
from trainmaster.endpoints.rehearsing import rehearsal_of, rehearse
from trainmaster.endpoints.removing import belongings, remove
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.endpoints.turns import Turn
from trainmaster.errors import DeploymentFailedError, NameConflictError, WaitTimedOutError
from trainmaster.training.desk import Desk

SCRIPT = """
import json
def model_fn(folder): return "{version}"
def input_fn(body, content_type): return json.loads(body)
def predict_fn(data, model): return {{"predicted_price": {price}, "model_version": model}}
def output_fn(prediction, accept): return json.dumps(prediction)
"""
PAYER = Payer()


class Stage:
    """An endpoint of one name, and what is desired of it."""

    def __init__(self, desk: Desk, hosting: Hosting) -> None:
        self.desk, self.hosting, self.name = desk, hosting, f"stage-{uuid4().hex[:8]}"

    @property
    def patience(self) -> Any:
        return deployment.patience_of(self.desk.settings)

    def wanted(self, version: str, price: str) -> tuple[Desired, ChosenModels]:
        card = {"model_version": version, "features": {"sqft": {"mean": 1800}}, "target": {"max": 900_000}}
        files = {"code/inference.py": SCRIPT.format(version=version, price=price), "model_card.json": json.dumps(card)}
        request = EndpointRequest(model_uri=self.hosting.upload(archive(files)), endpoint_name=self.name)
        models = deployment.choose_models(self.desk, request)
        return deployment.desire(self.desk, request, models), models

    def left_by_a_dead_deployment(self, wanted: Desired) -> str:
        """The ARN of a rehearsal that nobody took away."""
        tried = rehearsal_of(wanted)
        steps = plan_deployment(tried, describe_endpoint(self.desk.client, tried))
        apply_plan(self.desk.client, tried, [step for step in steps if step.kind != "remember"], self.patience)
        left = settle(self.hosting.sagemaker, tried.endpoint_name, self.patience)
        assert left
        return str(left["EndpointArn"])

    def rehearsal(self) -> Any:
        return self.described(f"{self.name}--rehearsal")

    def described(self, name: str) -> Any:
        found = find_endpoint(self.hosting.sagemaker, name)
        return {key: value for key, value in found.items() if key != "ResponseMetadata"} if found else None

    def require_billed(self) -> None:
        standing = self.desk.ledger.standing(ACCOUNT)
        assert standing.settled > 0
        assert standing.reserved == 0
        assert Meters(self.desk.ledger).running() == []


@pytest.fixture
def stage(embedded: Any, tmp_path: Path) -> Iterator[Stage]:
    with desk_at(tmp_path, embedded.environment, poll_seconds=0.1) as desk:
        made = Stage(desk, Hosting(embedded))
        yield made
        for name in (made.name, f"{made.name}--rehearsal"):
            remove(desk.client, belongings(desk.client, name), made.patience)
        made.hosting.remove()


def test_what_answers_well_is_told_of_and_its_endpoint_taken_away_and_billed(stage: Stage) -> None:
    wanted, models = stage.wanted("good", "7")
    statuses: list[str] = []
    tested = rehearse(stage.desk, wanted, models, PAYER, on_status=statuses.append)
    assert tested.answer == {"predicted_price": 7, "model_version": "good"}
    assert statuses[-1] == "InService"
    assert stage.rehearsal() is None
    assert find_config(stage.hosting.sagemaker, wanted.config_name)
    assert find_endpoint(stage.hosting.sagemaker, stage.name) is None
    stage.require_billed()


@pytest.mark.parametrize(
    ("price", "said"),
    [("-5", "predicted_price should lie between"), ("1 / 0", "failed"), ("(", "ping health check")],
    ids=["nonsense", "an error", "no start"],
)
def test_what_does_not_answer_well_fails_and_nothing_of_its_endpoint_is_left(
    stage: Stage, price: str, said: str
) -> None:
    wanted, models = stage.wanted("bad", price)
    with pytest.raises(DeploymentFailedError, match=said):
        rehearse(stage.desk, wanted, models, PAYER)
    assert stage.rehearsal() is None
    stage.require_billed()


def test_the_endpoint_that_serves_is_not_touched(stage: Stage) -> None:
    serving, models = stage.wanted("good", "7")
    plan = deployment.plan(stage.desk, serving)
    deployment.reserve(stage.desk, serving, plan, PAYER)
    deployment.bring_up(stage.desk, serving, plan, PAYER)
    deployment.prove(stage.desk, serving, models)
    before = stage.described(stage.name)
    wanted, models = stage.wanted("bad", "-5")
    planned = deployment.plan(stage.desk, wanted)
    assert planned.rehearses
    with pytest.raises(DeploymentFailedError):
        rehearse(stage.desk, wanted, models, PAYER)
    assert stage.described(stage.name) == before


def test_one_that_a_dead_deployment_left_is_gone_on_with(stage: Stage) -> None:
    wanted, models = stage.wanted("good", "7")
    arn = stage.left_by_a_dead_deployment(wanted)
    tags = tags_of(stage.hosting.sagemaker, arn)
    assert tags[WHEN_OVER_TAG] == "remove"
    assert EXPIRES_TAG in tags
    made = stage.rehearsal()["CreationTime"]
    seen: list[Any] = []
    rehearse(stage.desk, wanted, models, PAYER, on_status=lambda _: seen.append(stage.rehearsal()["CreationTime"]))
    assert set(seen) == {made}
    assert stage.rehearsal() is None
    stage.require_billed()


def test_one_that_was_left_with_another_version_makes_way(stage: Stage) -> None:
    stage.left_by_a_dead_deployment(stage.wanted("older", "3")[0])
    wanted, models = stage.wanted("good", "7")
    assert rehearse(stage.desk, wanted, models, PAYER).answer["model_version"] == "good"
    assert stage.rehearsal() is None


def test_two_deployments_at_once_rehearse_one_after_the_other(stage: Stage) -> None:
    versions = ["one", "two", "two"]
    wanted = [stage.wanted(version, "7") for version in versions]
    with ThreadPoolExecutor(3) as pool:
        tested = list(pool.map(lambda one: rehearse(stage.desk, *one, PAYER), wanted))
    assert [one.answer["model_version"] for one in tested] == versions
    assert stage.rehearsal() is None
    stage.require_billed()


def test_what_somebody_is_at_is_left_alone_until_their_turn_is_over(stage: Stage) -> None:
    arn = stage.left_by_a_dead_deployment(stage.wanted("theirs", "3")[0])
    theirs = Turn.begun()
    stage.hosting.sagemaker.add_tags(ResourceArn=arn, Tags=tag_list(theirs.tags()))
    wanted, models = stage.wanted("good", "7")
    hasty = replace(stage.desk, settings=stage.desk.settings.model_copy(update={"deploy_timeout_seconds": 1}))
    with pytest.raises(WaitTimedOutError, match=theirs.holder):
        rehearse(hasty, wanted, models, PAYER)
    assert stage.rehearsal()["EndpointStatus"] == "InService"
    over = replace(theirs, until=datetime.now(UTC) - timedelta(hours=1))
    stage.hosting.sagemaker.add_tags(ResourceArn=arn, Tags=tag_list(over.tags()))
    assert rehearse(stage.desk, wanted, models, PAYER).answer["model_version"] == "good"
    assert stage.rehearsal() is None


def test_somebody_elses_endpoint_of_that_name_is_left_alone(stage: Stage) -> None:
    wanted, models = stage.wanted("good", "7")
    config = stage.hosting.config(stage.hosting.variant(stage.hosting.model()))
    theirs = f"{stage.name}--rehearsal"
    stage.hosting.sagemaker.create_endpoint(EndpointName=theirs, EndpointConfigName=config)
    settle(stage.hosting.sagemaker, theirs, stage.patience)
    with pytest.raises(NameConflictError, match=theirs):
        rehearse(stage.desk, wanted, models, PAYER)
    assert stage.rehearsal()["EndpointStatus"] == "InService"
    assert stage.desk.ledger.standing(ACCOUNT).committed == 0
    stage.hosting.sagemaker.delete_endpoint(EndpointName=theirs)
    stage.hosting.sagemaker.get_waiter("endpoint_deleted").wait(
        EndpointName=theirs, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600}
    )
