"""No job without a reservation, no bill without an entry: launching, settling and reconciling on the embedded AWS."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import paid_launch
import pytest
from botocore.exceptions import ClientError
from desks import desk_at
from paid_launch import DATA, POINTS, TWIN_POINTS, finished, plan_of

from trainmaster.budget.budgets import ACCOUNT, Budget
from trainmaster.budget.charge import Allowance, Reservation
from trainmaster.budget.ledger import Ledger, open_ledger
from trainmaster.catalog.deployments import Deployment
from trainmaster.errors import NameConflictError, OverBudgetError, RefusedError
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk, open_desk
from trainmaster.training.experiments import ensure_trial
from trainmaster.training.launching import deployment_of, launch_training
from trainmaster.training.logs import last_lines
from trainmaster.training.outcome import bill_of
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.reconciling import reconcile
from trainmaster.training.tending import tend

ANNA = uuid.UUID(int=1)
HALF_AN_HOUR = timedelta(minutes=30)


@pytest.fixture
def sagemaker(embedded: Any) -> Any:
    return embedded.client("sagemaker")


@pytest.fixture
def desk(embedded: Any, sagemaker: Any, tmp_path: Path) -> Iterator[Desk]:
    with desk_at(tmp_path, embedded.environment) as opened:
        yield replace(opened, client={"sagemaker": sagemaker, "s3": embedded.client("s3")}.__getitem__)


@pytest.fixture
def ledger(desk: Desk) -> Ledger:
    return desk.ledger


@pytest.fixture(scope="module", autouse=True)
def data(embedded: Any) -> None:
    bucket = embedded.environment["TRAINMASTER_BUCKET"]
    embedded.client("s3").put_object(Bucket=bucket, Key=f"{DATA}/data.csv", Body=b"1")


@contextmanager
def desk_in(folder: Path) -> Iterator[Desk]:
    """Of the books alone."""
    with open_desk(Settings(state_dir=folder, DATABASE_URL=None), lambda _: None) as desk:
        yield desk


def known_bill(ledger: Ledger, job: str) -> Decimal | None:
    found = ledger.find(job)
    return found.bill if found else None


@pytest.fixture
def plan(embedded: Any) -> TrainingPlan:
    return new_plan(embedded)


@pytest.fixture
def fault(embedded: Any) -> Iterator[Callable[..., Any]]:
    yield lambda **rule: embedded.control("POST", "faults", rule)
    embedded.control("DELETE", "faults")


def new_plan(embedded: Any, **choices: Any) -> TrainingPlan:
    return plan_of(f"paid-{uuid.uuid4().hex[:8]}", embedded.environment, user_id=str(ANNA), **choices)


def jobs_named(sagemaker: Any, name: str) -> list[str]:
    return [job["TrainingJobName"] for job in sagemaker.list_training_jobs(NameContains=name)["TrainingJobSummaries"]]


def row_of(desk: Desk, plan: TrainingPlan) -> Deployment:
    found = desk.deployments.find(plan.job_name)
    assert found
    return found


def entries(ledger: Ledger) -> list[str]:
    return [one.what for one in reversed(ledger.history())]


def known(ledger: Ledger, plan: TrainingPlan) -> Reservation:
    found = ledger.find(plan.job_name)
    assert found
    return found


@dataclass(frozen=True)
class Interleavings:
    """What became of launches that were killed at every point, and of those that a twin passed there; by point."""

    folder: Path
    names: dict[str, str]
    launches: dict[str, list[str]]
    """How the processes that came to an end found their job, by the job's name."""


@pytest.fixture(scope="module")
def interleavings(embedded: Any, data: None, tmp_path_factory: pytest.TempPathFactory) -> Interleavings:
    folder, salt = tmp_path_factory.mktemp("mortal"), uuid.uuid4().hex[:6]
    names = {point: f"mortal-{salt}-{number}" for number, point in enumerate(POINTS)}
    done = subprocess.run(
        [sys.executable, paid_launch.__file__, str(folder), *names.values()],
        env={**os.environ, **embedded.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=220, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    launches: dict[str, list[str]] = defaultdict(list)
    for line in done.stdout.splitlines():
        name, launch = line.split()
        launches[name].append(launch)
    return Interleavings(folder, names, launches)


def require_one_of_everything(sagemaker: Any, logs: Any, folder: Path, name: str, runs: Sequence[str]) -> Deployment:
    """One job of the name, reserved and billed once, with one true row; every line of its log once in each run's file."""
    [job] = jobs_named(sagemaker, f"{name}-")
    described = sagemaker.describe_training_job(TrainingJobName=job)
    hourly = Decimal("0.115") + Decimal(30) * Decimal("0.14") / 672
    bill = (hourly * described["BillableTimeInSeconds"] / 3600).quantize(Decimal("0.000001"))
    with desk_in(folder) as desk:
        assert [one.what for one in desk.ledger.history(limit=1000) if one.subject == job] == ["settled", "reserved"]
        assert known_bill(desk.ledger, job) == bill
        assert desk.ledger.open_reservations() == []
        row = desk.deployments.find(job)
    assert row
    assert (row.status, row.actual_cost, row.completed_at) == ("failed", bill, described["TrainingEndTime"])
    assert row.error_message == described["FailureReason"]
    written = [line.text for line in last_lines(logs, job)]
    assert written
    for run in runs:
        told = (folder / f"{name}-{run}.log").read_text(encoding="utf-8").splitlines()
        assert [line.split(" ", 2)[2] for line in told] == written
    return row


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_there_is_one_job_one_reservation_one_bill_one_row_and_every_line_once(
    embedded: Any, sagemaker: Any, interleavings: Interleavings, point: str
) -> None:
    name = f"{interleavings.names[point]}-kill"
    was_created = POINTS.index(point) > POINTS.index("before the job")
    assert interleavings.launches[name] == ["found" if was_created else "created"]
    row = require_one_of_everything(sagemaker, embedded.client("logs"), interleavings.folder, name, ["first"])
    assert row.job.runs == ("first",)


@pytest.mark.parametrize("point", TWIN_POINTS)
def test_passed_anywhere_by_a_twin_there_is_one_of_everything_too(
    embedded: Any, sagemaker: Any, interleavings: Interleavings, point: str
) -> None:
    name = f"{interleavings.names[point]}-twin"
    passing, halted = interleavings.launches[name]
    was_created = POINTS.index(point) > POINTS.index("before the job")
    assert passing == ("found" if was_created else "created")
    assert halted == ("created" if was_created else "found" if point.endswith("the row") else "joined")
    runs = ["halted", "passing"]
    row = require_one_of_everything(sagemaker, embedded.client("logs"), interleavings.folder / "twins", name, runs)
    # Whoever comes when all is over finds the row as it is.
    assert sorted(row.job.runs) == (["passing"] if point == "before the row" else runs)


FAILURES = [
    {"operation": operation, **how}
    for operation in (
        "DescribeTrainingJob", "DescribeTrial", "CreateExperiment", "CreateTrial", "CreateTrainingJob", "ListTags",
    )
    for how in ({"error": "ThrottlingException"}, {"error": "InternalFailure"}, {"reset": True}, {"lost": True})
]  # fmt: skip


@pytest.mark.parametrize("rule", FAILURES, ids=lambda rule: "-".join(map(str, rule.values())))
def test_whichever_call_fails_the_next_try_launches_the_one_job(
    desk: Desk, plan: TrainingPlan, fault: Any, rule: dict[str, Any]
) -> None:
    if rule["operation"] == "ListTags":  # asked only of a job that is there
        launch_training(desk, plan)
    fault(count=1, **rule)
    with pytest.raises(Exception, match=r"Throttl|Internal|onnection"):
        launch_training(desk, plan)
    there = rule["operation"] == "ListTags" or (rule["operation"] == "CreateTrainingJob" and "lost" in rule)
    assert launch_training(desk, plan) == ("found" if there else "created")
    assert jobs_named(desk.client("sagemaker"), plan.job_name) == [plan.job_name]
    assert entries(desk.ledger) == ["reserved"]
    row = desk.deployments.find(plan.job_name)
    assert row
    assert (row.status, row.completed_at) == ("creating", None)


def test_of_many_launches_at_once_there_is_one_job_and_one_reservation(
    embedded: Any, plan: TrainingPlan, tmp_path: Path, sagemaker: Any
) -> None:
    answers: list[str] = []
    gate = threading.Barrier(8)

    def launch() -> None:
        with desk_at(tmp_path, embedded.environment) as desk:
            gate.wait()
            answers.append(launch_training(desk, plan))

    threads = [threading.Thread(target=launch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(answers), answers.count("created")) == (8, 1)
    assert jobs_named(sagemaker, plan.job_name) == [plan.job_name]
    with open_ledger(None, tmp_path) as ledger:
        assert entries(ledger) == ["reserved"]


class TestLaunching:
    def test_the_worst_case_is_reserved_for_who_pays(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan
    ) -> None:
        assert launch_training(desk, plan) == "created"
        worst = plan.approval.worst_case.quantize(Decimal("0.000001"), "ROUND_UP")
        assert ledger.standing(Budget("user", str(ANNA))).reserved == ledger.standing(ACCOUNT).reserved == worst
        arn = sagemaker.describe_training_job(TrainingJobName=plan.job_name)["TrainingJobArn"]
        assert known(ledger, plan).charge.resource == arn

    def test_over_budget_nothing_is_launched_and_what_would_fit_is_said(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, embedded: Any
    ) -> None:
        ledger.set_limit(Budget("user", str(ANNA)), Decimal("2.00"), set_by="a test")
        plan = new_plan(embedded, instance_type="ml.g5.xlarge", max_runtime_seconds=7200, budget_limit=Decimal(5))
        with pytest.raises(OverBudgetError) as refused:
            launch_training(desk, plan)
        assert f"{plan.job_name} would cost $2.95; $2.00 of " in str(refused.value)
        assert f"$2.00 of user {ANNA} is left" in str(refused.value)
        assert refused.value.choices[-1] == "a budget_limit of $2.00"
        assert refused.value.choices[0].startswith("ml.")
        assert (jobs_named(sagemaker, plan.job_name), ledger.find(plan.job_name)) == ([], None)

        for choice in refused.value.choices[:-1]:
            cheaper = new_plan(
                embedded, instance_type=choice.split()[0], max_runtime_seconds=7200, budget_limit=Decimal(5)
            )
            ledger.reserve(cheaper.charge)
            ledger.release(cheaper.job_name)
        smaller = new_plan(
            embedded, instance_type="ml.g5.xlarge", max_runtime_seconds=7200, budget_limit=Decimal("2.00")
        )
        assert launch_training(desk, smaller) == "created"

    def test_what_aws_refuses_is_released(self, desk: Desk, ledger: Ledger, plan: TrainingPlan, fault: Any) -> None:
        fault(operation="CreateTrainingJob", error="ResourceLimitExceeded", count=1)
        with pytest.raises(ClientError, match="ResourceLimitExceeded"):
            launch_training(desk, plan)
        assert entries(ledger) == ["reserved", "released"]
        assert launch_training(desk, plan) == "created"
        assert entries(ledger) == ["reserved", "released", "reserved"]

    @pytest.mark.parametrize("rule", [{"error": "ThrottlingException"}, {"error": "InternalFailure"}, {"reset": True}])
    def test_what_may_have_been_launched_stays_reserved_and_is_found_by_the_next_try(
        self, desk: Desk, ledger: Ledger, plan: TrainingPlan, fault: Any, rule: dict[str, Any]
    ) -> None:
        fault(operation="CreateTrainingJob", count=1, **rule)
        with pytest.raises(Exception, match=r"Throttl|Internal|onnection"):
            launch_training(desk, plan)
        assert entries(ledger) == ["reserved"]
        assert launch_training(desk, plan) == "created"
        assert entries(ledger) == ["reserved"]

    @pytest.mark.parametrize("refusal", ["ResourceLimitExceeded", "AccessDeniedException"])
    def test_a_refusal_of_the_second_try_does_not_hide_that_the_first_made_the_job(
        self, desk: Desk, embedded: Any, plan: TrainingPlan, fault: Any, refusal: str
    ) -> None:
        trying_again = embedded.client("sagemaker", retries={"total_max_attempts": 2})
        fault(operation="CreateTrainingJob", lost=True, count=1)
        fault(operation="CreateTrainingJob", error=refusal, count=1)
        assert launch_training(replace(desk, client=lambda _: trying_again), plan) == "joined"
        assert entries(desk.ledger) == ["reserved"]
        assert not row_of(desk, plan).has_ended

    def test_a_job_launched_before_there_was_a_ledger_is_counted_when_it_is_found(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan
    ) -> None:
        ledger.set_limit(ACCOUNT, Decimal("0.01"), set_by="a test")
        ensure_trial(sagemaker, plan.create_request["ExperimentConfig"])
        sagemaker.create_training_job(**plan.create_request)
        assert launch_training(desk, plan) == "found"
        assert known(ledger, plan).is_open

    def test_what_a_refused_twin_released_meanwhile_is_reserved_again(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan
    ) -> None:
        sagemaker.meta.events.register(
            "before-call.sagemaker.CreateTrainingJob", lambda **_: ledger.release(plan.job_name) and None
        )
        assert launch_training(desk, plan) == "created"
        assert entries(ledger) == ["reserved", "released", "reserved"]

    def test_a_launch_given_up_in_its_sleep_is_paid_for_and_shown_when_it_goes_on(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan
    ) -> None:
        def sleep(**_: Any) -> None:
            found = [one.finding for one in reconcile(desk, release_after=timedelta(0), stop_orphans=False)]
            assert found == ["released"]
            assert row_of(desk, plan).has_ended

        sagemaker.meta.events.register("before-call.sagemaker.CreateTrainingJob", sleep)
        assert launch_training(desk, plan, run="first") == "created"
        assert entries(ledger) == ["reserved", "released", "reserved"]
        row = row_of(desk, plan)
        assert (row.status, row.has_ended, row.job.given_up, row.job.runs) == ("creating", False, False, ("first",))

    def test_where_the_money_is_gone_by_then_the_job_is_stopped_and_counted(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan
    ) -> None:
        ledger.set_limit(ACCOUNT, Decimal("0.20"), set_by="a test")

        def spend_elsewhere(**_: Any) -> None:
            ledger.release(plan.job_name)
            ledger.reserve(replace(plan.charge, key="another"))

        sagemaker.meta.events.register("before-call.sagemaker.CreateTrainingJob", spend_elsewhere)
        with pytest.raises(OverBudgetError):
            launch_training(desk, plan)
        assert finished(sagemaker, plan.job_name)["TrainingJobStatus"] in {"Stopped", "Failed"}
        assert known(ledger, plan).is_open

    def test_a_billed_job_that_aws_has_forgotten_is_not_run_again_on_the_same_bill(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan
    ) -> None:
        ledger.reserve(plan.charge)
        ledger.settle(plan.job_name, Decimal("0.01"))
        with pytest.raises(NameConflictError, match="was run and billed, but AWS does not know it"):
            launch_training(desk, plan)
        assert jobs_named(sagemaker, plan.job_name) == []

    @pytest.mark.parametrize("factor", ["0.5", "3"])
    def test_at_another_price_than_it_was_reserved_at_a_launch_that_got_no_further_is_paid_for_anew(
        self, desk: Desk, ledger: Ledger, plan: TrainingPlan, factor: str
    ) -> None:
        earlier = replace(plan.charge, amount=plan.charge.amount * Decimal(factor))
        desk.deployments.begin(deployment_of(plan, "first"))
        ledger.reserve(earlier)
        assert launch_training(desk, plan, run="first") == "created"
        assert entries(ledger) == ["reserved", "released", "reserved"]
        assert known(ledger, plan).charge.amount == plan.charge.amount.quantize(Decimal("0.000001"), "ROUND_UP")

    def test_a_job_is_billed_at_the_price_it_was_launched_at(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan
    ) -> None:
        launch_training(desk, plan)
        dearer = replace(
            plan, charge=replace(plan.charge, amount=plan.charge.amount * 2, hourly=plan.charge.hourly * 2)
        )
        assert launch_training(desk, dearer) == "found"
        assert entries(ledger) == ["reserved"]
        ended = finished(sagemaker, plan.job_name)
        assert tend(desk, plan.job_name, ended).deployment
        assert known(ledger, plan).bill == bill_of(ended, plan.approval.rate)

    def test_a_twin_that_reserves_at_the_price_there_is_now_pays_for_both(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan
    ) -> None:
        now = replace(plan.charge, amount=plan.charge.amount * 2)
        sagemaker.meta.events.register(
            "before-call.sagemaker.CreateTrainingJob",
            lambda **_: ledger.release(plan.job_name) and ledger.reserve(now) and None,
        )
        assert launch_training(desk, plan) == "created"
        assert entries(ledger) == ["reserved", "released", "reserved"]
        assert known(ledger, plan).is_open

    def test_what_was_refused_is_launched_on_the_same_row_once_somebody_allows_it(
        self, desk: Desk, ledger: Ledger, plan: TrainingPlan
    ) -> None:
        ledger.set_limit(ACCOUNT, Decimal("0.10"), set_by="a test")
        with pytest.raises(OverBudgetError):
            launch_training(desk, plan, run="first")
        row = row_of(desk, plan)
        assert (row.status, row.job.given_up, row.has_ended) == ("failed", True, True)
        assert "would cost" in (row.error_message or "")
        word = Allowance(Decimal("0.20"), by="berta")
        assert launch_training(desk, plan, run="second", allowance=word) == "created"
        begun = row_of(desk, plan)
        assert (begun.id, begun.status, begun.completed_at, begun.error_message) == (row.id, "creating", None, None)
        assert begun.job.runs == ("first", "second")
        assert entries(ledger).count("reserved") == 1

    def test_what_aws_refused_has_an_ended_row_until_it_is_launched_again(
        self, desk: Desk, plan: TrainingPlan, fault: Any
    ) -> None:
        fault(operation="CreateTrainingJob", error="ResourceLimitExceeded", count=1)
        with pytest.raises(ClientError, match="ResourceLimitExceeded"):
            launch_training(desk, plan)
        assert row_of(desk, plan).has_ended
        launch_training(desk, plan)
        assert not row_of(desk, plan).has_ended

    def test_a_twin_that_was_refused_ends_no_row_of_a_job_that_runs(
        self, desk: Desk, sagemaker: Any, plan: TrainingPlan
    ) -> None:
        launch_training(desk, plan)
        desk.deployments.give_up(row_of(desk, plan).id, "the refusal of a twin, noted late")
        ended = finished(sagemaker, plan.job_name)
        tend(desk, plan.job_name, ended)
        row = row_of(desk, plan)
        assert (row.status, row.error_message, row.job.given_up) == ("failed", ended["FailureReason"], False)
        assert row.actual_cost == bill_of(ended, plan.approval.rate)

    def test_the_row_of_a_job_nobody_pays_for_says_that_it_is_to_stop(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan
    ) -> None:
        ledger.set_limit(ACCOUNT, Decimal("0.20"), set_by="a test")

        def spend_elsewhere(**_: Any) -> None:
            ledger.release(plan.job_name)
            ledger.reserve(replace(plan.charge, key="another"))

        sagemaker.meta.events.register("before-call.sagemaker.CreateTrainingJob", spend_elsewhere)
        with pytest.raises(OverBudgetError):
            launch_training(desk, plan)
        row = row_of(desk, plan)
        assert row.job.stop
        assert (row.job.stop.by, row.has_ended) == ("Trainmaster", False)

    @pytest.mark.parametrize("cancelled_by", ["us", "the application"])
    def test_what_was_stopped_before_it_was_launched_is_not_launched(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan, cancelled_by: str
    ) -> None:
        row = desk.deployments.begin(deployment_of(plan, "first"))
        if cancelled_by == "us":
            desk.deployments.ask_stop(row.id, "anna", "a typing error")
        else:
            desk.deployments.change(row.id, status="cancelled")
        for _ in range(2):
            with pytest.raises(RefusedError, match="before it was launched"):
                launch_training(desk, plan, run="first")
        assert jobs_named(sagemaker, plan.job_name) == []
        assert ledger.find(plan.job_name) is None
        row = row_of(desk, plan)
        assert (row.status, row.has_ended) == ("stopped" if cancelled_by == "us" else "cancelled", True)
