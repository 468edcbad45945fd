"""No job without a reservation, no bill without an entry: launching, settling and reconciling on the embedded AWS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import paid_launch
import pytest
from botocore.exceptions import ClientError
from desks import desk_at
from paid_launch import DATA, POINTS, finished, plan_of

from trainmaster.budget.budgets import ACCOUNT, Budget
from trainmaster.budget.charge import Reservation
from trainmaster.budget.ledger import Ledger, open_ledger
from trainmaster.catalog.database import open_database
from trainmaster.errors import NameConflictError, OverBudgetError
from trainmaster.training.desk import Desk
from trainmaster.training.launching import launch_training
from trainmaster.training.outcome import bill_of
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.reconciling import Reconciliation, reconcile

ANNA = uuid.UUID(int=1)
HALF_AN_HOUR = timedelta(minutes=30)


@pytest.fixture
def sagemaker(embedded: Any) -> Any:
    return embedded.client("sagemaker")


@pytest.fixture
def desk(embedded: Any, sagemaker: Any, tmp_path: Path) -> Iterator[Desk]:
    with desk_at(tmp_path, embedded.environment) as opened:
        yield replace(opened, client=lambda _: sagemaker)


@pytest.fixture
def ledger(desk: Desk) -> Ledger:
    return desk.ledger


@pytest.fixture(scope="module", autouse=True)
def data(embedded: Any) -> None:
    bucket = embedded.environment["TRAINMASTER_BUCKET"]
    embedded.client("s3").put_object(Bucket=bucket, Key=f"{DATA}/data.csv", Body=b"1")


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


def entries(ledger: Ledger) -> list[str]:
    return [one.what for one in reversed(ledger.history())]


def known(ledger: Ledger, plan: TrainingPlan) -> Reservation:
    found = ledger.find(plan.job_name)
    assert found
    return found


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_there_is_one_job_one_reservation_and_one_bill(
    embedded: Any, sagemaker: Any, tmp_path: Path, point: str
) -> None:
    name = f"mortal-{uuid.uuid4().hex[:8]}"

    def run(at: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, paid_launch.__file__, str(tmp_path), name, at],
            env={**os.environ, **embedded.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip

    assert run(point).returncode == -signal.SIGKILL
    again = run("none")
    assert again.returncode == 0
    launch, bill = again.stdout.split()
    assert launch == ("created" if POINTS.index(point) < 2 else "found")
    [job] = jobs_named(sagemaker, name)
    with open_ledger(None, tmp_path) as ledger:
        assert Counter(entries(ledger)) == {"reserved": 1, "settled": 1}
        billable = sagemaker.describe_training_job(TrainingJobName=job)["BillableTimeInSeconds"]
        hourly = Decimal("0.115") + Decimal(30) * Decimal("0.14") / 672
        assert Decimal(bill) == (hourly * billable / 3600).quantize(Decimal("0.000001"))
        assert ledger.standing(ACCOUNT).settled == Decimal(bill)
        assert ledger.open_reservations() == []


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

    def test_what_aws_refuses_is_released(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan, fault: Any
    ) -> None:
        fault(operation="CreateTrainingJob", error="ResourceLimitExceeded", count=1)
        with pytest.raises(ClientError, match="ResourceLimitExceeded"):
            launch_training(desk, plan)
        assert entries(ledger) == ["reserved", "released"]
        assert launch_training(desk, plan) == "created"
        assert entries(ledger) == ["reserved", "released", "reserved"]

    @pytest.mark.parametrize("rule", [{"error": "ThrottlingException"}, {"error": "InternalFailure"}, {"reset": True}])
    def test_what_may_have_been_launched_stays_reserved_and_is_found_by_the_next_try(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan, fault: Any, rule: dict[str, Any]
    ) -> None:
        fault(operation="CreateTrainingJob", count=1, **rule)
        with pytest.raises(Exception, match=r"Throttl|Internal|onnection"):
            launch_training(desk, plan)
        assert entries(ledger) == ["reserved"]
        assert launch_training(desk, plan) == "created"
        assert entries(ledger) == ["reserved"]

    def test_a_job_launched_before_there_was_a_ledger_is_counted_when_it_is_found(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan
    ) -> None:
        ledger.set_limit(ACCOUNT, Decimal("0.01"), set_by="a test")
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


class TestReconciling:
    @pytest.fixture
    def sweep(self, desk: Desk) -> Callable[..., Reconciliation]:
        def run(release_after: timedelta = HALF_AN_HOUR, **elsewhere: str) -> Reconciliation:
            result = Reconciliation()
            settings = desk.settings.model_copy(update=elsewhere)
            for found in reconcile(replace(desk, settings=settings), release_after=release_after):
                result.add(found)
            return result

        return run

    def test_a_finished_job_nobody_followed_is_settled_at_its_bill(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan, sweep: Any
    ) -> None:
        launch_training(desk, plan)
        ended = finished(sagemaker, plan.job_name)
        assert sweep().counts == {"settled": 1}
        assert known(ledger, plan).bill == bill_of(ended, plan.approval.rate)
        assert sweep().counts == {}
        assert entries(ledger) == ["reserved", "settled"]

    def test_a_running_job_is_left_alone(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, plan: TrainingPlan, sweep: Any
    ) -> None:
        launch_training(desk, plan)
        job = finished(sagemaker, plan.job_name)
        sagemaker.meta.events.register(
            "after-call.sagemaker.DescribeTrainingJob",
            lambda parsed, **_: parsed.update(TrainingJobStatus="InProgress"),
        )
        assert job["TrainingJobStatus"] == "Failed"
        assert sweep(timedelta(0)).counts == {"running": 1}
        assert entries(ledger) == ["reserved"]

    def test_a_launch_that_never_happened_is_released_when_it_is_old_enough(
        self, ledger: Ledger, plan: TrainingPlan, sweep: Any, tmp_path: Path
    ) -> None:
        ledger.reserve(plan.charge)
        assert sweep().counts == {"waiting": 1}
        assert known(ledger, plan).is_open
        old = replace(plan.charge, key=f"{plan.job_name}-old")
        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        with Ledger(open_database(None, tmp_path), lambda: an_hour_ago) as earlier:
            earlier.reserve(old)
        result = sweep()
        assert result.counts == {"waiting": 1, "released": 1}
        assert result.changed == [{"job": old.key, "what": "released", "reserved": "$0.1314", "billed": ""}]

    def test_what_another_account_or_region_would_know_is_not_given_up(
        self, ledger: Ledger, plan: TrainingPlan, sweep: Any
    ) -> None:
        ledger.reserve(plan.charge)
        assert sweep(timedelta(0), execution_role_arn="arn:aws:iam::999999999999:role/another").counts == {
            "elsewhere": 1
        }
        assert sweep(timedelta(0), region="eu-west-1").counts == {"elsewhere": 1}
        assert known(ledger, plan).is_open

    def test_a_launch_that_was_given_up_and_came_after_all_is_counted_and_billed(
        self, ledger: Ledger, sagemaker: Any, plan: TrainingPlan, sweep: Any
    ) -> None:
        ledger.reserve(plan.charge)
        assert sweep(timedelta(0)).counts == {"released": 1}
        sagemaker.create_training_job(**plan.create_request)
        assert sweep().counts == {"adopted": 1}
        finished(sagemaker, plan.job_name)
        assert sweep().counts == {"settled": 1}
        assert entries(ledger) == ["reserved", "released", "reserved", "settled"]

    def test_two_at_once_change_everything_once(
        self, desk: Desk, ledger: Ledger, sagemaker: Any, embedded: Any, sweep: Any
    ) -> None:
        plans = [new_plan(embedded) for _ in range(3)]
        for plan in plans:
            launch_training(desk, plan)
            finished(sagemaker, plan.job_name)
        never = replace(plans[0].charge, key="never-launched")
        ledger.reserve(never)
        gate, failures = threading.Barrier(2), list[BaseException]()

        def one() -> None:
            gate.wait()
            try:
                sweep(timedelta(0))
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert Counter(entries(ledger)) == {"reserved": 4, "settled": 3, "released": 1}
        assert ledger.open_reservations() == []
