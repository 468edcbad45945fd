"""A training run: shown first, handed over, asked about, on other machines when there are none; one job at a time."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from lasting_jobs import described
from prefect import flow, get_client, get_run_logger, task
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.input.actions import create_flow_run_input
from prefect.input.run_input import keyset_from_base_key
from prefect.runtime import flow_run, task_run
from prefect.states import Cancelling

from flows.train_model import train_model
from tasks.approval import BudgetDecision, Question, form_of, given
from tasks.cancelling import SHUTTING_DOWN, stop_jobs_of_cancelled
from tasks.run_log import RunLog
from tasks.training import name_after_config
from trainmaster.budget.budgets import Budget
from trainmaster.budget.ledger import Ledger, open_ledger
from trainmaster.catalog.catalogue import open_catalogue
from trainmaster.catalog.deployments import Deployment
from trainmaster.errors import NoCapacityError, TrainingFailedError, TrainingRefusedError
from trainmaster.settings import Settings
from trainmaster.training.attempts import FALLBACK
from trainmaster.training.log_sinks import Line
from trainmaster.training.request import TrainingRequest

HOUSES = Path(__file__).parents[2] / "model" / "data" / "house_data.csv"
WITHIN = 90.0


@pytest.fixture
def faults(stack: Any) -> Iterator[Any]:
    """Commands them, and clears them afterwards."""

    def command(operation: str, **fault: Any) -> None:
        stack.aws.control("POST", "faults", {"operation": operation, **fault})

    yield command
    stack.aws.control("DELETE", "faults")


@pytest.fixture
def ledger(stack: Any) -> Iterator[Ledger]:
    settings = Settings()
    with open_ledger(settings.database_url, settings.state_dir) as opened:
        yield opened


def request(stack: Any, name: str, user_id: UUID, **choices: Any) -> TrainingRequest:
    stack.client("s3").put_object(Bucket=stack.bucket, Key=f"{name}/data.csv", Body=HOUSES.read_bytes())
    asked = {"budget_limit": Decimal("1.00"), "max_runtime_seconds": 3600, **choices}
    return TrainingRequest(model_name=name, data_uri=f"s3://{stack.bucket}/{name}/", user_id=str(user_id), **asked)


def jobs(stack: Any, name: str) -> list[str]:
    found = stack.client("sagemaker").list_training_jobs(
        NameContains=name, SortBy="CreationTime", SortOrder="Ascending"
    )
    return [job["TrainingJobName"] for job in found["TrainingJobSummaries"]]


def row(job_name: str) -> Deployment:
    settings = Settings()
    catalogue = open_catalogue(settings.database_url, settings.state_dir)
    try:
        found = catalogue.deployments.find(job_name)
        assert found
        return found
    finally:
        catalogue.close()


def test_a_dry_run_shows_the_whole_plan_and_launches_nothing(stack: Any, ledger: Ledger, user_id: UUID) -> None:
    result = train_model(request(stack, "shown", user_id, dry_run=True))
    assert (result.status, result.outcome, result.attempts) == ("planned", None, [])
    assert result.plan
    assert result.plan["job_name"] == result.job_name
    assert jobs(stack, "shown") == []
    assert ledger.find(result.job_name) is None
    assert result.job_name == train_model(request(stack, "shown", user_id)).job_name


def test_a_run_that_does_not_wait_hands_its_job_over(stack: Any, user_id: UUID) -> None:
    result = train_model(request(stack, "handed-over", user_id, wait=False))
    assert (result.status, jobs(stack, "handed-over")) == ("launched", [result.job_name])
    assert row(result.job_name).job.handed_over


def test_everything_wrong_is_said_at_once_and_nothing_is_launched(stack: Any, user_id: UUID) -> None:
    asked = request(stack, "wrong", user_id, instance_type="ml.nope", subnets=["subnet-1"], max_wait_seconds=60)
    state = train_model(asked, return_state=True)
    with pytest.raises(TrainingRefusedError) as refused:
        state.result()
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        [page] = [str(one.data) for one in client.read_artifacts(artifact_filter=of_run) if one.key == "summary"]
    assert "# train wrong \\#1: refused" in page
    assert all(f"| {problem.kind.replace('_', chr(92) + '_')} |" in page for problem in refused.value.problems)
    assert {"instance_type", "network", "spot"} <= {problem.kind for problem in refused.value.problems}
    assert jobs(stack, "wrong") == []


def test_a_job_that_fails_is_shown_with_its_cause_its_bill_and_its_last_lines(stack: Any, user_id: UUID) -> None:
    asked = request(stack, "fails-visibly", user_id)
    stack.client("s3").put_object(Bucket=stack.bucket, Key="fails-visibly/data.csv", Body=b"not,houses\n1,2\n")
    state = train_model(asked, return_state=True)
    with pytest.raises(TrainingFailedError) as failed:
        state.result()
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        shown = {one.key: str(one.data) for one in client.read_artifacts(artifact_filter=of_run)}
    for said in (
        "| how it stands | failed |",
        "| why | AlgorithmError",
        "## Likely cause",
        "## Its last lines",
        "of what it could cost at worst |",
        "of its budget\\_limit |",
        "Set *attempt* to one more",
        "| data (training) | not in the catalogue | s3://",
        "#/jobs/fails-visibly-",
    ):
        assert said in shown["summary"], shown["summary"]
    assert failed.value.log_tail[-1] in shown["summary"]


def test_an_attempt_aws_has_no_capacity_for_is_closed_and_the_cheapest_next_one_trains(
    stack: Any, ledger: Ledger, user_id: UUID, faults: Any
) -> None:
    faults("CreateTrainingJob", error="CapacityError", count=1)
    asked = request(stack, "refused-once", user_id, instance_types=["ml.m5.2xlarge", "ml.m5.xlarge"])
    result = train_model(asked)
    first, second = result.attempts
    assert (first.instance_type, second.instance_type, second.ended) == ("ml.m5.large", "ml.m5.xlarge", "")
    assert "CapacityError" in first.ended
    assert jobs(stack, "refused-once") == [second.job_name]
    assert result.bill == second.bill == ledger.standing(Budget("user", str(user_id))).settled
    closed = row(first.job_name)
    assert closed.job.stop
    assert (closed.job.stop.by, closed.has_ended) == (FALLBACK, True)
    assert ledger.find(first.job_name).state == "released"  # type: ignore[union-attr]

    again = train_model(asked)  # there is capacity for the first by now, but the second has its place
    assert ([one.job_name for one in again.attempts], again.completed.found) == (
        [first.job_name, second.job_name],
        True,
    )
    assert jobs(stack, "refused-once") == [second.job_name]


def test_a_job_that_got_no_machines_is_followed_by_one_on_the_next(stack: Any, user_id: UUID, faults: Any) -> None:
    faults("LaunchingMLInstances", error="CapacityError", count=1)
    asked = request(stack, "failed-once", user_id, instance_types=["ml.m5.xlarge"], use_spot_instances=False)
    result = train_model(asked)
    first, second = result.attempts
    assert ("CapacityError" in first.ended, first.bill, second.ended) == (True, 0, "")
    assert jobs(stack, "failed-once") == [first.job_name, second.job_name]
    assert (row(first.job_name).status, row(second.job_name).status) == ("failed", "completed")
    assert train_model(asked).attempts == result.attempts
    assert jobs(stack, "failed-once") == [first.job_name, second.job_name]


def test_a_run_that_does_not_wait_says_so_and_started_again_walks_on(stack: Any, user_id: UUID, faults: Any) -> None:
    faults("LaunchingMLInstances", error="CapacityError", count=1)
    asked = request(stack, "unattended", user_id, instance_types=["ml.m5.xlarge"], wait=False, use_spot_instances=False)
    shown = train_model(asked.model_copy(update={"dry_run": True}))
    assert shown.plan
    assert any("Start the same request again, and it goes on with the next" in note for note in shown.plan["notes"])
    first = train_model(asked)
    assert (first.status, [one.ended for one in first.attempts]) == ("launched", [""])
    described(stack.client("sagemaker"), first.job_name, "Failed")
    again = train_model(asked)
    assert (again.status, [one.instance_type for one in again.attempts]) == (
        "launched",
        ["ml.m5.large", "ml.m5.xlarge"],
    )
    assert "CapacityError" in again.attempts[0].ended
    assert row(first.job_name).has_ended
    assert row(again.job_name).job.handed_over
    assert train_model(asked).job_name == again.job_name
    assert jobs(stack, "unattended") == [first.job_name, again.job_name]


def test_spot_falls_back_to_on_demand_only_where_it_may(stack: Any, user_id: UUID, faults: Any) -> None:
    faults("CreateTrainingJob", error="CapacityError", count=1)
    result = train_model(request(stack, "on-demand", user_id, fall_back_to_on_demand=True))
    assert [one.spot for one in result.attempts] == [True, False]
    job = stack.client("sagemaker").describe_training_job(TrainingJobName=result.job_name)
    assert not job.get("EnableManagedSpotTraining")
    assert row(result.job_name).status == "completed"

    faults("CreateTrainingJob", error="CapacityError", count=1)
    with pytest.raises(NoCapacityError, match="or allow more: instance_types, fall_back_to_on_demand"):
        train_model(request(stack, "spot-only", user_id))
    assert jobs(stack, "spot-only") == []


def test_a_run_that_cannot_be_suspended_waits_in_its_process(stack: Any, ledger: Ledger, user_id: UUID) -> None:
    ledger.set_limit(Budget("user", str(user_id)), Decimal("0.05"), set_by="a test")
    results: list[Any] = []
    asked = request(stack, "paused", user_id, on_over_budget="ask")
    settings = contextvars.copy_context()  # Prefect's, of the session's server
    run = threading.Thread(target=lambda: settings.run(lambda: results.append(train_model(asked))))
    run.start()
    paused = until_paused("train paused #1")
    with get_client(sync_client=True) as client:
        client.resume_flow_run(paused.id, {"decision": "approve", "up_to": 5, "decided_by": "Ada"})
    run.join(WITHIN)
    [result] = results
    assert result.status == "completed"
    assert ledger.find(result.job_name).bill == result.bill  # type: ignore[union-attr]


@pytest.mark.parametrize(("typed", "up_to"), [({}, "0.14"), ({"up_to": 0.1}, "0.1")], ids=["nothing", "an amount"])
def test_an_amount_left_empty_in_the_form_is_the_one_it_was_shown_with(stack: Any, typed: Any, up_to: str) -> None:
    @flow
    def answered() -> BudgetDecision | None:
        question = Question(Decimal("0.1314"), Decimal("0.03"), ("too little is left",), ())
        keys = keyset_from_base_key("suspended-budget-job")
        form_of(question, "Over budget.").save(keys)
        create_flow_run_input(key=keys["response"], value={"decision": "approve", "decided_by": "Ada", **typed})
        return given("budget-job")

    decision = answered()
    assert decision is not None
    assert decision.up_to == Decimal(up_to)


@pytest.mark.parametrize(("model_name", "called"), [("", "train cats-and-dogs #2"), ("mine", "as it was")])
def test_a_run_of_a_config_is_called_after_it_once_its_name_is_known(stack: Any, model_name: str, called: str) -> None:
    asked = TrainingRequest(training_config_id=str(uuid4()), model_name=model_name, attempt=2)
    plan: Any = SimpleNamespace(request=asked, job_name="cats-and-dogs-4006a88005-2")

    @flow(flow_run_name="as it was")
    def planned() -> None:
        name_after_config(plan)

    run_id = planned(return_state=True).state_details.flow_run_id
    assert run_id is not None
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(run_id).name == called


def until_paused(name: str) -> FlowRun:
    deadline = time.monotonic() + WITHIN
    named = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            for found in client.read_flow_runs(flow_run_filter=named):
                if found.state_type == StateType.PAUSED:
                    return found
            time.sleep(0.2)
    raise AssertionError("it never asked")


def test_a_worker_that_shuts_down_stops_no_job(stack: Any, user_id: UUID, faults: Any) -> None:
    faults("LaunchingMLInstances", latency=300)
    launched = train_model(request(stack, "shutting-down", user_id, wait=False))
    [run_id] = row(launched.job_name).job.runs
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(run_id))
    stop_jobs_of_cancelled(train_model, run, Cancelling(message=SHUTTING_DOWN))
    assert row(launched.job_name).job.runs == (run_id,)
    described = stack.client("sagemaker").describe_training_job(TrainingJobName=launched.job_name)
    assert described["TrainingJobStatus"] == "InProgress"
    stack.client("sagemaker").stop_training_job(TrainingJobName=launched.job_name)


LINES = [
    Line("job/algo-1-1", 1_700_000_000_000, "first", "algo-1"),
    Line("job/algo-2-1", 1_700_000_000_001, "algo-2: of its own", "algo-2"),
    Line("job/algo-1-1", 1_700_000_000_001, "x" * 30_000, "algo-1"),
    Line("job/algo-1-1", 1_700_000_000_001, "the same", "algo-1"),
    Line("job/algo-1-1", 1_700_000_000_001, "the same", "algo-1"),
    Line("other/algo-1-1", 1_700_000_000_001, "| alone: ünïcode"),
]


@task
def tell(lines: list[Line]) -> None:
    RunLog(UUID(flow_run.id), UUID(task_run.id), get_run_logger()).tell(lines)


@flow
def tells_and_asks(lines: list[Line], since: dict[str, int]) -> list[Line]:
    get_run_logger().info("said by the run itself")
    tell(lines)
    return list(RunLog(UUID(flow_run.id), None, get_run_logger()).told_since(since))


def test_what_a_run_was_told_it_knows_again_by_stream_time_and_text(stack: Any) -> None:
    cut = [Line(one.stream, one.at, one.text[:2000], one.host) for one in LINES]
    everything = tells_and_asks(LINES, {"job/algo-1-1": 0, "job/algo-2-1": 0, "other/algo-1-1": 0})
    found = [Line(one.stream, one.at, one.text[:2000], one.host) for one in everything]
    assert sorted(found, key=str) == sorted(cut, key=str)
    assert [one.text for one in tells_and_asks(LINES, {"job/algo-2-1": 1_700_000_000_001})] == ["algo-2: of its own"]
    assert tells_and_asks(LINES, {"job/algo-1-1": 1_700_000_000_002}) == []
    many = [Line("job/algo-1-1", 1_700_000_000_000 + number, f"line {number}") for number in range(450)]
    assert len(tells_and_asks(many, {"job/algo-1-1": 1_700_000_000_000 + 50})) == 400
