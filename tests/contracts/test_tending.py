"""Whoever looks at a job brings row and ledger to what AWS says, and stops it when it must not go on; with real jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from desks import desk_at
from lasting_jobs import BRIEF, LASTING, described, job_plan, put_data

from trainmaster.budget.budgets import ACCOUNT
from trainmaster.budget.money import rounded
from trainmaster.catalog.deployments import Deployment, Stop
from trainmaster.training.desk import Desk
from trainmaster.training.launching import launch_training
from trainmaster.training.outcome import bill_of
from trainmaster.training.plan import FINGERPRINT_TAG, TrainingPlan
from trainmaster.training.tending import Tended, tend


@pytest.fixture(scope="module", autouse=True)
def data(embedded: Any) -> None:
    put_data(embedded)


@pytest.fixture
def desk(embedded: Any, tmp_path: Path) -> Iterator[Desk]:
    with desk_at(tmp_path, embedded.environment) as opened:
        yield opened


@pytest.fixture
def sagemaker(desk: Desk) -> Any:
    return desk.client("sagemaker")


@pytest.fixture
def fault(embedded: Any) -> Iterator[Callable[..., Any]]:
    yield lambda **rule: embedded.control("POST", "faults", rule)
    embedded.control("DELETE", "faults")


@pytest.fixture
def launched(desk: Desk, sagemaker: Any, embedded: Any) -> Iterator[Callable[..., TrainingPlan]]:
    """Launches a job and waits until it trains; what still runs when the test ends is stopped."""
    plans: list[TrainingPlan] = []

    def launch(script: str = LASTING, **choices: Any) -> TrainingPlan:
        plans.append(job_plan(embedded, script, **choices))
        launch_training(desk, plans[-1])
        described(sagemaker, plans[-1].job_name, "Training", "Completed", "Failed")
        return plans[-1]

    yield launch
    embedded.control("DELETE", "faults")
    for plan in plans:
        if sagemaker.describe_training_job(TrainingJobName=plan.job_name)["TrainingJobStatus"] == "InProgress":
            sagemaker.stop_training_job(TrainingJobName=plan.job_name)


def look(desk: Desk, plan: TrainingPlan, **changed: Any) -> Tended:
    """One look at the job as AWS describes it now; `changed` are members it is made to say."""
    description = desk.client("sagemaker").describe_training_job(TrainingJobName=plan.job_name)
    return tend(desk, plan.job_name, {**description, **changed})


def row_of(desk: Desk, plan: TrainingPlan) -> Deployment:
    found = desk.deployments.find(plan.job_name)
    assert found
    return found


def what(tended: Tended) -> list[str]:
    return [action.what for action in tended.actions]


class TestAJobThatGoesItsWay:
    def test_its_row_says_what_aws_says_from_its_launch_to_its_bill(
        self, desk: Desk, sagemaker: Any, launched: Any
    ) -> None:
        plan = launched(BRIEF)
        look(desk, plan, TrainingJobStatus="InProgress", SecondaryStatus="Training")
        assert row_of(desk, plan).status == "training"
        ended = described(sagemaker, plan.job_name, "Completed")
        assert what(tend(desk, plan.job_name, ended, logs="r2=0.75;")) == ["settle"]
        row = row_of(desk, plan)
        bill = bill_of(ended, plan.approval.rate)
        assert (row.status, row.has_ended, row.actual_cost, row.error_message) == ("completed", True, bill, None)
        assert (row.metrics, row.logs) == ({"validation:r2": 0.75}, "r2=0.75;")
        assert row.started_at == ended["TrainingStartTime"]
        assert row.completed_at == ended["TrainingEndTime"]
        assert row.checkpoint_urls == ()  # it kept none
        assert (
            row.url == f"https://us-east-1.console.aws.amazon.com/sagemaker/home?region=us-east-1#/jobs/{plan.job_name}"
        )
        assert what(look(desk, plan)) == []
        assert row_of(desk, plan) == row

    def test_a_look_that_brings_nothing_new_writes_nothing(
        self, desk: Desk, launched: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = launched()
        look(desk, plan)

        def written(*_: Any, **__: Any) -> None:
            raise AssertionError("the row was written")

        monkeypatch.setattr(type(desk.deployments), "change", written)
        assert look(desk, plan).actions == ()

    def test_one_that_failed_says_why(self, desk: Desk, sagemaker: Any, launched: Any) -> None:
        plan = launched("raise SystemExit('no memory left')")
        described(sagemaker, plan.job_name, "Failed")
        look(desk, plan)
        row = row_of(desk, plan)
        assert row.status == "failed"
        assert row.error_message
        assert row.error_message.startswith("AlgorithmError")

    def test_killed_between_bill_and_row_the_next_look_closes_the_row(
        self, desk: Desk, sagemaker: Any, launched: Any
    ) -> None:
        plan = launched(BRIEF)
        ended = described(sagemaker, plan.job_name, "Completed")
        desk.ledger.settle(plan.job_name, bill_of(ended, plan.approval.rate))
        assert what(look(desk, plan)) == []
        assert row_of(desk, plan).actual_cost == bill_of(ended, plan.approval.rate)


class TestAJobWhoseSecondsAwsDoesNotSay:
    def test_it_is_not_booked_at_nothing_but_by_its_start_and_end_an_hour_later(
        self, desk: Desk, sagemaker: Any, launched: Any
    ) -> None:
        plan = launched(BRIEF)
        said = described(sagemaker, plan.job_name, "Completed")
        silent = {name: value for name, value in said.items() if not name.endswith("TimeInSeconds")}
        tended = tend(desk, plan.job_name, silent)
        assert tended.reservation
        assert (what(tended), tended.reservation.is_open, row_of(desk, plan).has_ended) == ([], True, False)
        end = desk.ledger.now() - timedelta(minutes=61)
        long_ago = {"TrainingStartTime": end - timedelta(seconds=600), "TrainingEndTime": end}
        tended = tend(desk, plan.job_name, {**silent, **long_ago, "SecondaryStatusTransitions": []})
        assert tended.reservation
        assert what(tended) == ["settle"]
        assert tended.reservation.bill == rounded(plan.approval.rate.cost(600))
        assert any("AWS reports no seconds it bills" in one for one in tended.drift)
        row = row_of(desk, plan)
        assert (row.has_ended, row.actual_cost) == (True, tended.reservation.bill)


class TestStopping:
    def stopped(self, desk: Desk, plan: TrainingPlan) -> Deployment:
        described(desk.client("sagemaker"), plan.job_name, "Stopped")
        look(desk, plan)
        return row_of(desk, plan)

    def test_a_row_the_application_cancelled_stops_its_job_and_stays_cancelled(self, desk: Desk, launched: Any) -> None:
        plan = launched()
        desk.deployments.change(row_of(desk, plan).id, status="cancelled")
        [action] = look(desk, plan).actions
        assert (action.what, action.by) == ("stop", "the application")
        row = self.stopped(desk, plan)
        assert (row.status, row.has_ended) == ("cancelled", True)
        assert row.actual_cost
        assert row.error_message == "Stopped by the application: its deployment was set to cancelled."

    def test_a_stop_somebody_asked_for_is_theirs(self, desk: Desk, launched: Any) -> None:
        plan = launched()
        desk.deployments.change(row_of(desk, plan).id, stop=Stop("anna", "it learns nothing", datetime.now(UTC)))
        assert what(look(desk, plan)) == ["stop"]
        row = self.stopped(desk, plan)
        assert (row.status, row.error_message) == ("stopped", "Stopped by anna: it learns nothing.")

    def test_a_stop_aws_did_not_hear_is_asked_for_at_each_look_until_it_shows(
        self, desk: Desk, sagemaker: Any, launched: Any, fault: Any
    ) -> None:
        plan = launched()
        desk.deployments.change(row_of(desk, plan).id, status="cancelled")
        fault(operation="StopTrainingJob", error="AccessDeniedException", count=2)
        for _ in range(2):
            with pytest.raises(ClientError, match="AccessDenied"):
                look(desk, plan)
            assert row_of(desk, plan).job.stop
        assert what(look(desk, plan)) == ["stop"]
        described(sagemaker, plan.job_name, "Stopping", "Stopped")
        assert "stop" not in what(look(desk, plan))

    def test_one_that_has_run_for_longer_than_is_paid_for_is_stopped_and_it_is_said_why(
        self, desk: Desk, launched: Any
    ) -> None:
        plan = launched()
        paid = plan.approval.max_runtime_seconds
        assert look(desk, plan, **up_for(paid)).actions == ()
        [action] = look(desk, plan, **up_for(paid + 60)).actions
        assert action.what == "stop"
        assert action.why.startswith(f"its instances have been up for {paid + 60} s, at most $0.12")
        row = self.stopped(desk, plan)
        assert row.job.stop
        assert (row.job.stop.by, row.job.stop.why) == ("Trainmaster", action.why)

    def test_one_that_only_uploads_its_model_any_more_is_let_be(self, desk: Desk, launched: Any) -> None:
        plan = launched()
        uploading = up_for(plan.approval.max_runtime_seconds + 600)
        assert look(desk, plan, **{**uploading, "SecondaryStatus": "Uploading"}).actions == ()

    def test_no_budget_and_no_drift_stops_what_only_uploads_its_model_any_more(self, desk: Desk, launched: Any) -> None:
        plan = launched()
        desk.ledger.set_limit(ACCOUNT, Decimal(0), set_by="a test")
        on_demand = {"EnableManagedSpotTraining": False}
        assert look(desk, plan, SecondaryStatus="Uploading").actions == ()
        assert look(desk, plan, SecondaryStatus="Uploading", **on_demand).actions == ()
        ours = Stop("Trainmaster", "decided while it trained, by one that died then", datetime.now(UTC))
        desk.deployments.change(row_of(desk, plan).id, stop=ours, status="stopping")
        assert look(desk, plan, SecondaryStatus="Uploading").actions == ()
        assert what(look(desk, plan, SecondaryStatus="Training")) == ["stop"]

    @pytest.mark.parametrize(
        "wish", [{"stop": Stop("anna", "it learns nothing", datetime.now(UTC))}, {"status": "cancelled"}]
    )
    def test_a_persons_and_the_applications_wish_stop_it_all_the_same(
        self, desk: Desk, launched: Any, wish: dict[str, Any]
    ) -> None:
        plan = launched()
        desk.deployments.change(row_of(desk, plan).id, **wish)
        assert what(look(desk, plan, SecondaryStatus="Uploading")) == ["stop"]

    def test_when_a_budget_is_cut_the_newest_job_is_stopped_and_no_more_than_needed(
        self, desk: Desk, sagemaker: Any, launched: Any
    ) -> None:
        older, newer = launched(), launched()
        desk.ledger.set_limit(ACCOUNT, Decimal("0.20"), set_by="a test")
        assert look(desk, older).actions == ()
        [action] = look(desk, newer).actions
        assert action.what == "stop"
        assert action.why.startswith("$0.2627 of the account is spent or promised for ")
        assert self.stopped(desk, newer).status == "stopped"
        assert look(desk, older).actions == ()
        assert sagemaker.describe_training_job(TrainingJobName=older.job_name)["TrainingJobStatus"] == "InProgress"

    def test_one_that_nothing_is_reserved_for_is_counted_from_then_on(self, desk: Desk, launched: Any) -> None:
        plan = launched()
        desk.ledger.release(plan.job_name)
        assert what(look(desk, plan)) == ["adopt"]
        released = desk.ledger.find(plan.job_name)
        assert released
        assert released.is_open

    def test_of_a_row_without_any_entry_in_the_books_the_price_is_todays(
        self, desk: Desk, embedded: Any, launched: Any, tmp_path: Path
    ) -> None:
        plan = launched()
        with desk_at(tmp_path / "without books", embedded.environment) as other:
            other.deployments.begin(row_of(desk, plan))
            assert what(look(other, plan)) == ["adopt"]
            adopted = other.ledger.find(plan.job_name)
        assert adopted
        assert adopted.charge.amount == plan.approval.worst_case.quantize(Decimal("0.000001"), "ROUND_UP")
        assert adopted.charge.payer == plan.charge.payer


class TestDrift:
    def test_a_job_as_it_was_asked_for_has_none(self, desk: Desk, launched: Any) -> None:
        assert look(desk, launched()).drift == ()

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"EnableManagedSpotTraining": False}, "it runs on demand, spot instances were asked for"),
            ({"StoppingCondition": {"MaxRuntimeInSeconds": 7200}}, "it may run for 7200 s, 3600 s were asked for"),
            ({"InstanceCount": 2}, "instance_count is 2, 1 was asked for"),
            ({"InstanceType": "ml.g5.xlarge"}, "at worst it costs $1.5"),
        ],
    )  # fmt: skip
    def test_what_may_cost_more_than_was_approved_is_stopped(
        self, desk: Desk, sagemaker: Any, launched: Any, change: dict[str, Any], said: str
    ) -> None:
        plan = launched()
        if change.keys() & {"InstanceCount", "InstanceType"}:
            change = {"ResourceConfig": {**plan.create_request["ResourceConfig"], **change}}
        tended = look(desk, plan, **change)
        [action] = tended.actions
        assert action.what == "stop"
        assert said in action.why
        assert action.why.partition("approved: ")[2] in tended.drift
        assert described(sagemaker, plan.job_name, "Stopping", "Stopped")

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"CheckpointConfig": {}}, "it keeps checkpoints at no place, not at one of its own"),
            ({"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10}}, "volume_size_gb is 10"),
        ],
    )  # fmt: skip
    def test_what_costs_no_more_is_only_told(
        self, desk: Desk, launched: Any, change: dict[str, Any], said: str
    ) -> None:
        tended = look(desk, launched(), **change)
        assert tended.actions == ()
        assert tended.drift[0].startswith(said)

    def test_a_price_that_rose_since_is_no_drift(self, desk: Desk, launched: Any) -> None:
        plan = launched()
        today = f"us-east-1,training,ml.m5.large,9.99,{datetime.now(UTC):%Y-%m-%d},a test"
        desk.settings.refreshed_prices.write_text(f"region,use,item,usd,as_of,source\n{today}\n", encoding="utf-8")
        tended = look(desk, plan)
        assert desk.prices.instance("ml.m5.large", "training", "us-east-1").usd == Decimal("9.99")
        assert (tended.actions, tended.drift) == ((), ())

    def test_a_fingerprint_its_name_was_not_made_of_is_told(self, desk: Desk, sagemaker: Any, launched: Any) -> None:
        plan = launched()
        arn = plan.charge.resource
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": FINGERPRINT_TAG, "Value": "f" * 64}])
        assert look(desk, plan).drift == (
            f"its fingerprint is ffffffffff, its name was made of {plan.fingerprint[:10]}",
        )
        assert look(desk, plan).drift == ()  # it was said


def up_for(seconds: int) -> dict[str, Any]:
    """What AWS says of a job whose instances were taken and came back, and have been up for so long in all."""
    now = datetime.now(UTC)
    first, taken = now - timedelta(seconds=seconds + 3600), now - timedelta(seconds=seconds // 2 + 3600)
    back = now - timedelta(seconds=seconds - seconds // 2)
    return {
        "SecondaryStatus": "Training",
        "SecondaryStatusTransitions": [
            {"Status": "Starting", "StartTime": first - timedelta(hours=1), "EndTime": first},
            {"Status": "Training", "StartTime": first, "EndTime": first + timedelta(seconds=seconds // 2)},
            {"Status": "Interrupted", "StartTime": taken, "EndTime": back},
            {"Status": "Training", "StartTime": back},
        ],
    }
