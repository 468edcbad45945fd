"""Whatever died, reconcile brings rows, ledger and jobs together: each thing once, however many of it run; with real jobs."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from desks import desk_at
from lasting_jobs import BRIEF, LASTING, create_alone, described, job_plan, put_data

from trainmaster.budget.budgets import ACCOUNT
from trainmaster.budget.charge import Reservation
from trainmaster.budget.ledger import Ledger
from trainmaster.catalog.database import open_database
from trainmaster.catalog.deployments import Deployment, Deployments
from trainmaster.errors import CatalogueUnavailableError
from trainmaster.training.desk import Desk
from trainmaster.training.followers import States, no_states
from trainmaster.training.launching import deployment_of, launch_training
from trainmaster.training.looking import regions_with_jobs
from trainmaster.training.outcome import bill_of
from trainmaster.training.plan import INSTALLATION_TAG, TrainingPlan
from trainmaster.training.reconciling import Reconciled, reconcile

HALF_AN_HOUR = timedelta(minutes=30)
AT_ONCE = timedelta(0)


@pytest.fixture(scope="module", autouse=True)
def data(embedded: Any) -> None:
    put_data(embedded)


@pytest.fixture
def desk(embedded: Any, tmp_path: Path) -> Iterator[Desk]:
    with desk_at(tmp_path, embedded.environment) as opened:
        yield opened


@pytest.fixture
def ledger(desk: Desk) -> Ledger:
    return desk.ledger


@pytest.fixture
def sagemaker(embedded: Any) -> Any:
    return embedded.client("sagemaker")


@pytest.fixture
def fault(embedded: Any) -> Iterator[Callable[..., Any]]:
    yield lambda **rule: embedded.control("POST", "faults", rule)
    embedded.control("DELETE", "faults")


@pytest.fixture
def launched(desk: Desk, sagemaker: Any, embedded: Any) -> Iterator[Callable[..., TrainingPlan]]:
    """Launches a job and waits until it trains or has ended; what still runs when the test ends is stopped."""
    plans: list[TrainingPlan] = []

    def launch(script: str = LASTING, *, run: str = "", **choices: Any) -> TrainingPlan:
        plans.append(job_plan(embedded, script, **choices))
        launch_training(desk, plans[-1], run=run)
        described(sagemaker, plans[-1].job_name, "Training" if script == LASTING else "Completed")
        return plans[-1]

    yield launch
    embedded.control("DELETE", "faults")
    for plan in plans:
        if status(sagemaker, plan) == "InProgress":
            sagemaker.stop_training_job(TrainingJobName=plan.job_name)


def status(sagemaker: Any, plan: TrainingPlan) -> str:
    return str(sagemaker.describe_training_job(TrainingJobName=plan.job_name)["TrainingJobStatus"])


def sweep(
    desk: Desk, release_after: timedelta = HALF_AN_HOUR, *, states: States = no_states, stop_orphans: bool = False
) -> dict[str, Reconciled]:
    """One reconciliation: what was found, by job."""
    found = reconcile(desk, release_after=release_after, states=states, stop_orphans=stop_orphans)
    return {one.job_name: one for one in found}


def findings(found: Mapping[str, Reconciled]) -> dict[str, str]:
    return {name: one.finding for name, one in found.items()}


def entries(ledger: Ledger) -> list[str]:
    return [one.what for one in reversed(ledger.history())]


def known(ledger: Ledger, plan: TrainingPlan) -> Reservation:
    found = ledger.find(plan.job_name)
    assert found
    return found


def row_of(desk: Desk, plan: TrainingPlan) -> Deployment:
    found = desk.deployments.find(plan.job_name)
    assert found
    return found


class TestWhatEnded:
    def test_a_job_whose_follower_died_is_settled_at_its_bill_and_its_row_closed(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, launched: Any
    ) -> None:
        plan = launched(BRIEF)
        ended = described(sagemaker, plan.job_name, "Completed")
        assert findings(sweep(desk)) == {plan.job_name: "settled"}
        assert known(ledger, plan).bill == row_of(desk, plan).actual_cost == bill_of(ended, plan.approval.rate)
        assert row_of(desk, plan).status == "completed"
        assert sweep(desk) == {}
        assert entries(ledger) == ["reserved", "settled"]

    def test_a_job_at_work_is_left_alone(self, desk: Desk, ledger: Ledger, launched: Any) -> None:
        plan = launched()
        assert findings(sweep(desk, AT_ONCE)) == {plan.job_name: "running"}
        assert entries(ledger) == ["reserved"]

    def test_one_that_only_the_ledger_knows_is_settled_too(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, embedded: Any
    ) -> None:
        plan = job_plan(embedded, BRIEF)
        ledger.reserve(plan.charge)
        create_alone(sagemaker, plan)
        described(sagemaker, plan.job_name, "Completed")
        assert findings(sweep(desk)) == {plan.job_name: "settled"}
        assert known(ledger, plan).bill


class TestWhatIsToStop:
    def test_a_row_the_application_cancelled(self, desk: Desk, sagemaker: Any, launched: Any) -> None:
        plan = launched()
        desk.deployments.change(row_of(desk, plan).id, status="cancelled")
        assert findings(sweep(desk)) == {plan.job_name: "stopped"}
        described(sagemaker, plan.job_name, "Stopped")
        assert findings(sweep(desk)) == {plan.job_name: "settled"}
        assert (row_of(desk, plan).status, row_of(desk, plan).has_ended) == ("cancelled", True)

    def test_a_row_the_application_cancelled_and_closed_at_once(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, launched: Any
    ) -> None:
        """No row leads to the job any more; its reservation does."""
        plan = launched()
        desk.deployments.change(row_of(desk, plan).id, status="cancelled", completed_at=datetime.now(UTC))
        assert findings(sweep(desk)) == {plan.job_name: "stopped"}
        described(sagemaker, plan.job_name, "Stopped")
        assert findings(sweep(desk)) == {plan.job_name: "settled"}
        assert known(ledger, plan).bill

    @pytest.mark.parametrize("state", ["CANCELLED", "CANCELLING"])
    def test_a_job_all_of_whose_flow_runs_were_cancelled(
        self, desk: Desk, sagemaker: Any, launched: Any, state: str
    ) -> None:
        run = str(uuid.uuid4())
        plan = launched(run=run)
        assert findings(sweep(desk, states=lambda _: {run: "RUNNING"})) == {plan.job_name: "running"}
        assert findings(sweep(desk, states=lambda _: {run: state})) == {plan.job_name: "stopped"}
        assert described(sagemaker, plan.job_name, "Stopping", "Stopped")
        stop = row_of(desk, plan).job.stop
        assert stop
        assert stop.why == "every flow run that followed it was cancelled"

    @pytest.mark.parametrize("states", [{}, {"a": "CRASHED"}, {"a": "CANCELLED", "b": "CRASHED"}, {"a": "FAILED"}])
    def test_but_none_whose_run_died_of_itself_or_is_forgotten(
        self, desk: Desk, launched: Any, states: Mapping[str, str]
    ) -> None:
        plan = launched(run="a")
        if "b" in states:
            desk.deployments.change(row_of(desk, plan).id, runs=("a", "b"))
        assert findings(sweep(desk, states=lambda _: states)) == {plan.job_name: "running"}

    def test_nor_one_that_was_handed_over(self, desk: Desk, launched: Any) -> None:
        plan = launched(run="a")
        desk.deployments.change(row_of(desk, plan).id, handed_over=True)
        assert findings(sweep(desk, states=lambda _: {"a": "CANCELLED"})) == {plan.job_name: "running"}

    def test_the_newest_when_a_budget_was_cut_and_no_more_than_needed(
        self, desk: Desk, ledger: Ledger, launched: Any
    ) -> None:
        plans = [launched() for _ in range(3)]
        ledger.set_limit(ACCOUNT, Decimal("0.15"), set_by="a test")
        assert list(findings(sweep(desk)).values()) == ["running", "stopped", "stopped"]
        assert [bool(row_of(desk, plan).job.stop) for plan in plans] == [False, True, True]

    def test_what_may_cost_more_than_was_approved(self, desk: Desk, sagemaker: Any, embedded: Any) -> None:
        """Somebody else's Create under our name came first, without spot instances."""
        plan = job_plan(embedded)
        ledger = desk.ledger
        desk.deployments.begin(deployment_of(plan, ""))
        ledger.reserve(plan.charge)
        limits = {"MaxRuntimeInSeconds": plan.create_request["StoppingCondition"]["MaxRuntimeInSeconds"]}
        on_demand = {"EnableManagedSpotTraining": False, "StoppingCondition": limits}
        create_alone(sagemaker, replace(plan, create_request={**plan.create_request, **on_demand}))
        found = sweep(desk)[plan.job_name]
        assert (found.finding, found.why) == (
            "stopped",
            "it may cost more than was approved: it runs on demand, spot instances were asked for",
        )
        described(sagemaker, plan.job_name, "Stopped")


class TestWhatWasNeverLaunched:
    def test_it_is_released_and_its_row_closed_when_it_is_old_enough(
        self, desk: Desk, ledger: Ledger, embedded: Any, tmp_path: Path
    ) -> None:
        plan, old = job_plan(embedded), job_plan(embedded)
        desk.deployments.begin(deployment_of(plan, ""))
        ledger.reserve(plan.charge)
        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        desk.deployments.begin(replace(deployment_of(old, ""), created_at=an_hour_ago))
        with Ledger(open_database(None, tmp_path), lambda: an_hour_ago) as earlier:
            earlier.reserve(old.charge)
        assert findings(sweep(desk)) == {plan.job_name: "waiting", old.job_name: "released"}
        assert (known(ledger, plan).state, known(ledger, old).state) == ("reserved", "released")
        row = row_of(desk, old)
        assert (row.status, row.has_ended) == ("failed", True)
        assert row.error_message
        assert row.error_message.startswith("Never launched: AWS knows no such job, though it was to be launched at ")
        assert findings(sweep(desk)) == {plan.job_name: "waiting"}

    def test_a_row_that_came_to_no_reservation_is_closed_and_a_reservation_without_row_released(
        self, desk: Desk, ledger: Ledger, embedded: Any
    ) -> None:
        with_row, reserved = job_plan(embedded), job_plan(embedded)
        desk.deployments.begin(deployment_of(with_row, ""))
        ledger.reserve(reserved.charge)
        assert set(findings(sweep(desk)).values()) == {"waiting"}
        assert findings(sweep(desk, AT_ONCE)) == {with_row.job_name: "released", reserved.job_name: "released"}
        assert row_of(desk, with_row).status == "failed"
        assert ledger.open_reservations() == []

    def test_one_given_up_that_runs_after_all_is_counted_and_its_row_opened_again(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, embedded: Any
    ) -> None:
        plan = job_plan(embedded)
        desk.deployments.begin(deployment_of(plan, ""))
        ledger.reserve(plan.charge)
        assert findings(sweep(desk, AT_ONCE)) == {plan.job_name: "released"}
        create_alone(sagemaker, plan)
        described(sagemaker, plan.job_name, "Training")
        assert findings(sweep(desk)) == {plan.job_name: "adopted"}
        assert (row_of(desk, plan).status, row_of(desk, plan).has_ended) == ("training", False)
        desk.deployments.change(row_of(desk, plan).id, status="cancelled")
        assert findings(sweep(desk)) == {plan.job_name: "stopped"}
        described(sagemaker, plan.job_name, "Stopped")
        assert findings(sweep(desk)) == {plan.job_name: "settled"}
        assert entries(ledger) == ["reserved", "released", "reserved", "settled"]

    def test_what_another_account_or_region_would_know_is_not_given_up(
        self, desk: Desk, ledger: Ledger, embedded: Any
    ) -> None:
        plan, reserved = job_plan(embedded), job_plan(embedded)
        desk.deployments.begin(deployment_of(plan, ""))
        ledger.reserve(plan.charge)
        ledger.reserve(reserved.charge)
        role = {"execution_role_arn": "arn:aws:iam::999999999999:role/another"}
        of_another = replace(desk, settings=desk.settings.model_copy(update=role))
        assert findings(sweep(of_another, AT_ONCE)) == dict.fromkeys((plan.job_name, reserved.job_name), "elsewhere")
        there = {**embedded.environment, "AWS_REGION": "eu-west-1"}
        with desk_at(desk.settings.state_dir, there) as elsewhere:
            assert not {plan.job_name, reserved.job_name} & sweep(elsewhere, AT_ONCE).keys()
            assert regions_with_jobs(elsewhere) == ["eu-west-1", "us-east-1"]
        assert known(ledger, plan).is_open
        assert known(ledger, reserved).is_open
        assert not row_of(desk, plan).has_ended


class TestWhatAwsForgot:
    """A job that AWS described once and does not know now: deleted there, or the credentials are another account's."""

    def test_it_is_not_taken_for_one_never_launched_and_what_a_person_stops_is_booked_as_reserved(
        self, desk: Desk, ledger: Ledger, embedded: Any
    ) -> None:
        plan = job_plan(embedded)
        row = desk.deployments.begin(deployment_of(plan, ""))
        ledger.reserve(plan.charge)
        desk.deployments.change(row.id, status="training", url="https://console.aws.amazon.com/")
        found = sweep(desk, AT_ONCE)[plan.job_name]
        assert found.finding == "failed"
        assert "`trainmaster train stop`" in found.why
        assert (known(ledger, plan).state, row_of(desk, plan).has_ended) == ("reserved", False)
        desk.deployments.ask_stop(row.id, "user", "it was deleted")
        assert findings(sweep(desk, AT_ONCE)) == {plan.job_name: "settled"}
        assert known(ledger, plan).bill == known(ledger, plan).charge.amount
        assert row_of(desk, plan).has_ended
        assert sweep(desk, AT_ONCE) == {}


class TestOrphans:
    @pytest.fixture
    def orphan(self, desk: Desk, sagemaker: Any, embedded: Any) -> Iterator[TrainingPlan]:
        """A job of this installation that its catalogue and ledger do not know."""
        ours = {"Key": INSTALLATION_TAG, "Value": str(desk.catalogue.installation)}
        plan = job_plan(embedded, name="orphan", create={"Tags": [ours]})
        create_alone(sagemaker, plan)
        described(sagemaker, plan.job_name, "Training")
        yield plan
        if status(sagemaker, plan) == "InProgress":
            sagemaker.stop_training_job(TrainingJobName=plan.job_name)

    def test_a_job_with_our_tag_that_nobody_knows_is_stopped_a_foreign_one_is_not(
        self, desk: Desk, sagemaker: Any, embedded: Any, orphan: TrainingPlan, launched: Any
    ) -> None:
        ours = launched()
        foreign = job_plan(embedded, name="foreign")  # of another installation
        create_alone(sagemaker, foreign)
        described(sagemaker, foreign.job_name, "Training")
        found = findings(sweep(desk, AT_ONCE, stop_orphans=True))
        assert found[orphan.job_name] == "orphan"
        assert found[ours.job_name] == "running"
        assert foreign.job_name not in found
        assert described(sagemaker, orphan.job_name, "Stopping", "Stopped")
        assert status(sagemaker, foreign) == status(sagemaker, ours) == "InProgress"
        sagemaker.stop_training_job(TrainingJobName=foreign.job_name)

    def test_but_not_while_its_launch_may_be_under_way_nor_where_orphans_are_let_be(
        self, desk: Desk, sagemaker: Any, orphan: TrainingPlan
    ) -> None:
        assert orphan.job_name not in sweep(desk, HALF_AN_HOUR, stop_orphans=True)
        assert orphan.job_name not in sweep(desk, AT_ONCE, stop_orphans=False)
        assert status(sagemaker, orphan) == "InProgress"

    def test_one_whose_row_was_closed_long_ago_is_ours_and_counted_again(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, orphan: TrainingPlan
    ) -> None:
        row = desk.deployments.begin(deployment_of(orphan, ""))
        desk.deployments.give_up(row.id, "never launched")
        assert findings(sweep(desk, AT_ONCE, stop_orphans=True))[orphan.job_name] == "adopted"
        assert known(ledger, orphan).is_open
        assert status(sagemaker, orphan) == "InProgress"


class TestTrouble:
    def test_two_at_once_change_everything_once(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, embedded: Any, launched: Any
    ) -> None:
        plans = [launched(BRIEF) for _ in range(3)]
        cancelled = launched()
        desk.deployments.change(row_of(desk, cancelled).id, status="cancelled")
        never = job_plan(embedded)
        ledger.reserve(never.charge)
        gate, failures = threading.Barrier(2), list[BaseException]()

        def one() -> None:
            gate.wait()
            try:
                failures.extend(
                    RuntimeError(found.why) for found in sweep(desk, AT_ONCE).values() if found.finding == "failed"
                )
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert Counter(entries(ledger)) == {"reserved": 5, "settled": 3, "released": 1}
        assert [row_of(desk, plan).status for plan in plans] == ["completed"] * 3
        described(sagemaker, cancelled.job_name, "Stopped")

    def test_throttled_one_call_in_five_nothing_is_left_over_but_the_job_aws_will_not_describe(
        self, desk: Desk, ledger: Ledger, embedded: Any, launched: Any, fault: Any
    ) -> None:
        plans = [launched(BRIEF) for _ in range(4)]
        sagemaker = embedded.client("sagemaker", **client_config_retries())
        sagemaker.meta.events.register("before-call.sagemaker.DescribeTrainingJob", refuse(plans[1].job_name))
        fault(operation="*", error="ThrottlingException", rate=0.2)
        found = sweep(
            replace(desk, client=lambda service: sagemaker if service == "sagemaker" else desk.client(service))
        )
        assert [found[plan.job_name].finding for plan in plans] == ["settled", "failed", "settled", "settled"]
        assert "AccessDenied" in found[plans[1].job_name].why
        assert [one.key for one in ledger.open_reservations()] == [plans[1].job_name]

    def test_a_row_that_cannot_be_written_keeps_no_other_from_it(
        self, desk: Desk, launched: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plans = [launched(BRIEF) for _ in range(3)]
        change, cursed = Deployments.change, row_of(desk, plans[0]).id

        def fail_one(self: Deployments, deployment_id: uuid.UUID, **changes: Any) -> Deployment:
            if deployment_id == cursed:
                raise CatalogueUnavailableError("The catalogue is busy.")
            return change(self, deployment_id, **changes)

        with monkeypatch.context() as patch:
            patch.setattr(Deployments, "change", fail_one)
            found = sweep(desk)
        assert [found[plan.job_name].finding for plan in plans] == ["failed", "settled", "settled"]
        assert findings(sweep(desk)) == {plans[0].job_name: "running"}
        assert row_of(desk, plans[0]).status == "completed"

    def test_where_aws_is_out_of_reach_it_says_so_once(
        self, desk: Desk, ledger: Ledger, embedded: Any, fault: Any
    ) -> None:
        for _ in range(20):
            ledger.reserve(job_plan(embedded).charge)
        fault(operation="DescribeTrainingJob", error="AccessDeniedException")
        with pytest.raises(ClientError, match="AccessDenied"):
            sweep(desk)


def refuse(job_name: str) -> Callable[..., None]:
    """Makes botocore fail for one job, for good."""

    def before(params: Any, **_: Any) -> None:
        if job_name.encode() in params["body"]:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "Not yours."}}, "DescribeTrainingJob")

    return before


def client_config_retries() -> dict[str, Any]:
    """Retries as the clients of steps have them."""
    return {"retries": {"mode": "adaptive", "total_max_attempts": 8}}
