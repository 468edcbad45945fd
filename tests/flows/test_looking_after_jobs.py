"""The flows that look after jobs nobody follows, and the one that stops a job: with real jobs and a real Prefect server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from lasting_jobs import BRIEF, LASTING, described, job_plan, put_data
from prefect import flow, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.states import Cancelled, Completed, Crashed, Pending, Scheduled
from sqlalchemy import update

from flows.follow_jobs import follow_jobs
from flows.reconcile import reconcile
from flows.stop_training import stop_training
from tasks.cancelling import stop_jobs_of_cancelled
from trainmaster.catalog.deployments import Deployment, deployment_id_of
from trainmaster.catalog.tables import log_positions
from trainmaster.errors import JobsLeftError, UnknownChoiceError
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk, open_desk
from trainmaster.training.launching import deployment_of, launch_training
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.reconciling import ReconcileRequest
from trainmaster.training.stop_request import StopRequest
from trainmaster.training.sweeping import FollowJobsRequest, Sweep, SweptJob


@pytest.fixture
def desk(stack: Any) -> Iterator[Desk]:
    """The flows' own."""
    with open_desk(Settings(), stack.client) as opened:
        yield opened


@pytest.fixture
def user_id() -> str:
    return str(uuid4())


@pytest.fixture
def launched(desk: Desk, stack: Any, user_id: str) -> Iterator[Callable[..., TrainingPlan]]:
    """Launches a user's job and waits until it trains or has ended; whatever of it is left when the test ends is stopped and settled."""
    put_data(stack.aws)
    plans: list[TrainingPlan] = []

    def launch(script: str = LASTING, *, run: str = "", user: str = user_id) -> TrainingPlan:
        plans.append(job_plan(stack.aws, script, user_id=user, name="looked-after"))
        launch_training(desk, plans[-1], run=run)
        described(desk.client("sagemaker"), plans[-1].job_name, "Training", "Completed")
        return plans[-1]

    yield launch
    stack.aws.control("DELETE", "faults")
    for plan in plans:
        if not row_of(desk, plan).has_ended:
            stop_training(StopRequest(job=plan.job_name, reason="the test is over", user_id=str(plan.request.user_id)))


def row_of(desk: Desk, plan: TrainingPlan) -> Deployment:
    found = desk.deployments.find(plan.job_name)
    assert found
    return found


def of_job(sweep: Sweep, plan: TrainingPlan) -> SweptJob | None:
    return next((one for one in sweep.jobs if one.job == plan.job_name), None)


def run_in(state: Any) -> str:
    """A flow run in this state."""

    @flow
    def nothing() -> None:
        pass

    with get_client(sync_client=True) as client:
        run = client.create_flow_run(nothing)
        client.set_flow_run_state(run.id, state, force=True)
        return str(run.id)


def tables(key: str) -> list[str]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
        return [str(one.data) for one in found]


def test_a_job_whose_run_was_cancelled_is_stopped_by_reconcile_and_one_whose_run_crashed_goes_on_in_the_sweep(
    desk: Desk, launched: Any
) -> None:
    cancelled = launched(run=run_in(Cancelled()))
    shut_down = launched(run=run_in(Cancelled(message="Runner is shutting down.")))
    crashed = launched(run=run_in(Crashed()))
    reconcile(ReconcileRequest())
    described(desk.client("sagemaker"), cancelled.job_name, "Stopped")
    assert reconcile(ReconcileRequest()).counts["settled"] >= 1
    assert (row_of(desk, cancelled).status, row_of(desk, cancelled).has_ended) == ("stopped", True)
    sweep = follow_jobs(FollowJobsRequest(jobs_per_task=1))
    for plan in (shut_down, crashed):
        swept = of_job(sweep, plan)
        assert swept
        assert swept.status == "training (Training)"
    assert any(crashed.job_name in table for table in tables("followed-jobs"))


def test_one_job_of_a_cancelled_run_that_cannot_be_stopped_now_keeps_no_other_of_it_going(
    desk: Desk, stack: Any, launched: Any
) -> None:
    run = run_in(Cancelled())
    first, second = launched(run=run), launched(run=run)
    stack.aws.control("POST", "faults", {"operation": "StopTrainingJob", "error": "AccessDeniedException", "count": 1})
    with get_client(sync_client=True) as client:
        stop_jobs_of_cancelled(follow_jobs, client.read_flow_run(UUID(run)), Cancelled())
    described(desk.client("sagemaker"), second.job_name, "Stopped")
    assert described(desk.client("sagemaker"), first.job_name, "InProgress")
    assert row_of(desk, first).job.stop  # so that whoever looks next stops it
    reconcile(ReconcileRequest())
    described(desk.client("sagemaker"), first.job_name, "Stopped")


@pytest.mark.usefixtures("desk")
def test_a_sweep_that_comes_while_another_is_at_work_is_cancelled_and_leaves_no_queue_behind_it() -> None:
    alone = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(follow_jobs)
        deployment = client.create_deployment(
            flow_id, f"alone-{uuid4().hex[:8]}", concurrency_limit=1, concurrency_options=alone
        )

        def begin() -> str:
            run = client.create_flow_run_from_deployment(deployment, state=Scheduled())
            client.set_flow_run_state(run.id, Pending())
            return str(run.id)

        first, second = begin(), begin()
        states = [client.read_flow_run(UUID(one)).state for one in (first, second)]
        assert [state.type.value for state in states if state] == ["PENDING", "CANCELLED"]
        client.set_flow_run_state(UUID(first), Completed(), force=True)
        assert [state.type.value for one in [begin()] if (state := client.read_flow_run(UUID(one)).state)] == [
            "PENDING"
        ]


def test_the_sweep_settles_what_was_handed_over_when_it_ends(desk: Desk, launched: Any) -> None:
    plan = launched(BRIEF, run=str(uuid4()))
    desk.deployments.change(row_of(desk, plan).id, handed_over=True)
    described(desk.client("sagemaker"), plan.job_name, "Completed")
    swept = of_job(follow_jobs(FollowJobsRequest()), plan)
    assert swept
    assert (swept.status, swept.said) == ("completed (Completed)", "settle: it ended Completed (by Trainmaster)")
    row = row_of(desk, plan)
    assert (row.has_ended, row.logs) == (True, "r2=0.75;")
    assert of_job(follow_jobs(FollowJobsRequest()), plan) is None


def test_what_could_not_be_looked_after_fails_the_run_by_name_when_all_others_were(
    desk: Desk, stack: Any, launched: Any
) -> None:
    plan = launched()
    stack.aws.control("POST", "faults", {"operation": "DescribeTrainingJob", "error": "AccessDeniedException"})
    for run in (lambda: follow_jobs(FollowJobsRequest()), lambda: reconcile(ReconcileRequest())):
        with pytest.raises(JobsLeftError, match=f"(?s)could not be looked after.*{plan.job_name}: .*AccessDenied"):
            run()
    stack.aws.control("DELETE", "faults")
    assert of_job(follow_jobs(FollowJobsRequest()), plan)


def test_a_region_that_is_refused_keeps_no_other_from_being_looked_after(desk: Desk, stack: Any, user_id: str) -> None:
    plan = job_plan(stack.aws, user_id=user_id, name="regions")
    row, yesterday = deployment_of(plan, ""), datetime.now(UTC) - timedelta(days=1)

    def begin_in(region: str) -> Deployment:
        arn = plan.charge.resource.replace("us-east-1", region)
        name = f"{plan.job_name}-{region[:2]}"
        of_region = replace(row.job, arn=arn, handed_over=True)
        begun = replace(row, id=deployment_id_of(arn), deployment_id=name, created_at=yesterday, job=of_region)
        return desk.deployments.begin(begun)

    refused, later = begin_in("a region of nobody's"), begin_in("eu-west-1")
    try:
        with pytest.raises(JobsLeftError, match="region a region of nobody's: ") as swept:
            follow_jobs(FollowJobsRequest())
        assert later.deployment_id not in str(swept.value)
        assert any(later.deployment_id in table for table in tables("followed-jobs"))
        with pytest.raises(JobsLeftError, match="region a region of nobody's: "):
            reconcile(ReconcileRequest())
        given_up = desk.deployments.find(later.deployment_id)
        assert given_up
        assert given_up.job.given_up
    finally:
        for one in (refused, later):
            desk.deployments.give_up(one.id, "the test is over")


class TestStopping:
    def test_a_job_is_stopped_billed_and_what_it_left_listed_and_again_it_only_says_so(
        self, desk: Desk, launched: Any, user_id: str
    ) -> None:
        saving = "import time; open('/opt/ml/checkpoints/one', 'w').write('so far'); print('saved', flush=True); time.sleep(600)"
        plan = launched(saving)
        request = StopRequest(job=plan.job_name, reason="it learns nothing", user_id=user_id)
        stopped = stop_training(request)
        assert (stopped.status, stopped.had_ended) == ("stopped", False)
        assert (stopped.by, stopped.why) == (f"user {user_id}", "it learns nothing")
        booked = desk.ledger.find(plan.job_name)
        assert booked
        assert stopped.cost == booked.bill
        assert stopped.left.checkpoints.newest[0][0].endswith("/checkpoints/one")
        assert row_of(desk, plan).checkpoint_urls == (f"{plan.create_request['CheckpointConfig']['S3Uri']}/one",)
        assert any("/checkpoints/one" in table for table in tables("stopped-job"))
        again = stop_training(replace_reason(request))
        assert (again.had_ended, again.why) == (True, "it learns nothing")
        assert again.sentence().startswith(f"Training job {plan.job_name} had ended already: stopped. It cost $")

    def test_one_that_ended_before_anybody_looked_is_settled_and_not_called_stopped(
        self, desk: Desk, launched: Any, user_id: str
    ) -> None:
        plan = launched(BRIEF)
        described(desk.client("sagemaker"), plan.job_name, "Completed")
        stopped = stop_training(StopRequest(job=plan.job_name, reason="too late", user_id=user_id))
        assert stopped.sentence().startswith(f"Training job {plan.job_name} had completed before it could be stopped.")
        assert row_of(desk, plan).status == "completed"

    def test_another_users_job_is_as_missing_as_none(self, desk: Desk, launched: Any, user_id: str) -> None:
        plan = launched(user=str(uuid4()))
        for job in (plan.job_name, "no-such-job", str(row_of(desk, plan).id)):
            with pytest.raises(UnknownChoiceError, match=f"User {user_id} has no training job '{job}'"):
                stop_training(StopRequest(job=job, reason="not mine", user_id=user_id))
        assert described(desk.client("sagemaker"), plan.job_name, "InProgress")
        assert row_of(desk, plan).job.stop is None


def replace_reason(request: StopRequest) -> StopRequest:
    return request.model_copy(update={"reason": "to be sure"})


def test_reconcile_forgets_where_readers_of_logs_stopped_that_come_no_more(desk: Desk) -> None:
    kept, job = desk.catalogue.log_positions, f"job-{uuid4().hex}"
    for reader in ("gone", "reading"):
        kept.save(job, reader, {"algo-1": "f/1"})
    with desk.catalogue.database.writing() as connection:
        long_ago = update(log_positions).values(at=datetime.now(UTC) - timedelta(days=36))
        connection.execute(long_ago.where(log_positions.c.job == job, log_positions.c.reader == "gone"))
    reconcile(ReconcileRequest())
    assert (kept.load(job, "gone"), kept.load(job, "reading")) == ({}, {"algo-1": "f/1"})
