"""The main job, whole: a table in, an answering endpoint out; and what it leaves when something is wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.logging.handlers import APILogWorker

from flows.remove_endpoint import remove_endpoint
from flows.train_and_serve import train_and_serve
from trainmaster.endpoints.request import EndpointChoices, RemovalRequest
from trainmaster.errors import DatasetRefusedError, OverBudgetError, RefusedError, TrainingRefusedError
from trainmaster.laptop import Clock, as_json
from trainmaster.main_job import TrainAndServeRequest, TrainedAndServed
from trainmaster.storage.address import S3Address
from trainmaster.training.request import TrainingChoices

pytestmark = pytest.mark.usefixtures("as_a_worker")


def request(name: str, data: str = "", **training: object) -> TrainAndServeRequest:
    return TrainAndServeRequest(
        data=data,
        training=TrainingChoices.model_validate({"model_name": name, **training}),
        endpoint=EndpointChoices(endpoint_name=name),
    )


def jobs_named(stack: Any, name: str) -> list[str]:
    answer = stack.client("sagemaker").list_training_jobs(NameContains=name)
    return [job["TrainingJobName"] for job in answer["TrainingJobSummaries"]]


@dataclass(frozen=True)
class Run:
    """A whole run of the flow, with the ids of its own and its subflows' runs."""

    result: TrainedAndServed
    ids: list[UUID]


@pytest.fixture(scope="module")
def run(stack: Any) -> Run:
    state = train_and_serve(request("main-job"), return_state=True)
    whole = state.state_details.flow_run_id
    with get_client(sync_client=True) as api:
        parts = api.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[whole]))
        )
    return Run(state.result(), [whole, *(part.id for part in parts)])


@pytest.fixture(scope="module")
def done(run: Run) -> TrainedAndServed:
    return run.result


def test_the_model_is_good_cheap_and_answering(done: TrainedAndServed) -> None:
    assert done.training.metrics["validation:r2"] > 0.8
    assert 0 < done.training.bill <= done.training.worst_case <= done.training.approved == Decimal("1.00")
    assert done.served.smoke_test.answer["model_version"] == "v1"
    assert 50_000 < done.served.smoke_test.answer["predicted_price"] < 2_000_000
    assert [step.split()[0] for step in done.served.steps] == ["create", "create", "remember", "create"]


def test_machines_are_told_of_it_in_one_object(done: TrainedAndServed) -> None:
    said = json.loads(as_json(done, Clock(spent={"training": 1.5})))
    assert (said["training"]["job_name"], said["training"]["found"]) == (done.training.job_name, False)
    assert said["served"]["config_name"] == done.served.config_name
    assert Decimal(said["training"]["bill"]) == done.training.bill
    assert said["seconds"].keys() == {"training", "total"}


def test_the_bill_is_what_aws_reports_times_its_rate(stack: Any, done: TrainedAndServed) -> None:
    job = stack.client("sagemaker").describe_training_job(TrainingJobName=done.training.job_name)
    hourly = Decimal("0.115") + Decimal(30) * Decimal("0.14") / 672
    assert done.training.bill == (hourly * job["BillableTimeInSeconds"] / 3600).quantize(Decimal("0.000001"))


def test_aws_was_told_the_cap_and_that_spot_is_wanted(stack: Any, done: TrainedAndServed) -> None:
    job = stack.client("sagemaker").describe_training_job(TrainingJobName=done.training.job_name)
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}
    assert job["EnableManagedSpotTraining"] is True
    assert job["CheckpointConfig"]["S3Uri"].startswith(f"s3://{stack.bucket}/")


def test_running_it_again_trains_nothing_and_changes_nothing(stack: Any, done: TrainedAndServed) -> None:
    again = train_and_serve(request("main-job"))
    assert again.training.found
    assert not again.table.sent
    assert (again.training.job_name, again.served.config_name) == (done.training.job_name, done.served.config_name)
    assert again.served.steps == []
    assert jobs_named(stack, "main-job") == [done.training.job_name]


def test_the_runs_page_shows_progress_figures_a_picture_and_a_summary(run: Run, done: TrainedAndServed) -> None:
    of_this_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=run.ids))
    with get_client(sync_client=True) as api:
        found = api.read_artifacts(artifact_filter=of_this_run)
    [progress] = [one.data for one in found if one.key == "training-progress"]
    assert progress == 100
    pages = {one.flow_run_id: str(one.data) for one in found if one.key == "summary"}
    for said in (
        "# main-job is trained and serving",
        "of its budget\\_limit of \\$1.00",
        "| data (training) | ",
        f"| job | {done.training.job_name} |",
        "| model | version 1 of main-job, ",
        "| endpoint | main-job |",
        "#/endpoints/main-job",
    ):
        assert said in pages[run.ids[0]], pages[run.ids[0]]
    assert any("## How it was proven" in page and "all-traffic" in page for page in pages.values())
    [of_job] = [page for page in pages.values() if page.startswith(f"# Training job {done.training.job_name}")]
    for said in (
        "completed: \\$",
        "of what it could cost at worst |",
        "| validation:r2 | 0.",
        "![Predicted against actual prices](data:image/png;base64,iVBOR",
        "| data (training) | ",
        "version 1 of main-job",
        f"#/jobs/{done.training.job_name}",
    ):
        assert said in of_job, of_job


def test_the_jobs_log_lines_are_in_the_runs_log(run: Run) -> None:
    APILogWorker.drain_all(timeout=10)
    of_this_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=run.ids))
    with get_client(sync_client=True) as api:
        lines = [log.message for log in api.read_logs(log_filter=of_this_run, limit=200)]
    assert len([line for line in lines if line.startswith("| r2=")]) == 1


def test_a_table_with_other_peoples_headers_is_understood(stack: Any, tmp_path: Path) -> None:
    rows = [f"{n % 5 + 1},{n % 3 + 1},{1000 + 37 * n},{1950 + n},{100_000 + 5000 * n},x" for n in range(60)]
    table = tmp_path / "sales.csv"
    table.write_text("\n".join(["Bedrooms,BATHROOMS,sqft_living,Yr_Built,Price,zipcode", *rows]))
    result = train_and_serve(request("aliases", data=str(table)))
    assert result.table.columns["sqft"] == "sqft_living"
    assert "zipcode" in result.table.ignored
    remove_endpoint(RemovalRequest(endpoint_name="aliases", dry_run=False))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("bedrooms,bathrooms,sqft,price\n" + "1,1,1000,1\n" * 20, "year_built"),
        (
            "bedrooms,bathrooms,sqft,year_built,price\n" + "1,1,1000,1990,5\n" * 15 + "3,2,many,1990,5\n",
            "line 17, column sqft.*many",
        ),
        ("", "empty"),
        ("{}", "JSON"),
    ],
    ids=["a missing column", "a non-number", "an empty file", "not CSV"],
)
def test_a_bad_table_is_refused_before_anything_is_launched(
    stack: Any, tmp_path: Path, content: str, said: str
) -> None:
    table = tmp_path / "bad.csv"
    table.write_text(content)
    with pytest.raises(DatasetRefusedError, match=said):
        train_and_serve(request("bad-table", data=str(table)))
    assert jobs_named(stack, "bad-table") == []


def test_a_missing_file_is_refused_by_name(stack: Any) -> None:
    with pytest.raises(DatasetRefusedError, match=r"no-such\.csv cannot be read"):
        train_and_serve(request("bad-table", data="no-such.csv"))


def test_a_job_its_budget_cannot_pay_for_is_never_launched(stack: Any) -> None:
    with pytest.raises(TrainingRefusedError, match=r"budget_limit is \$1\.00"):
        train_and_serve(request("too-dear", instance_type="ml.p4d.24xlarge"))
    assert jobs_named(stack, "too-dear") == []


@pytest.mark.parametrize(
    ("use", "said"), [("training", r"\$150\.\d\d; budget_limit is \$1\.00"), ("hosting", r"\$900 an hour")]
)
def test_a_job_is_judged_by_the_prices_aws_was_asked_for(
    stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str, said: str
) -> None:
    rows = f"us-east-1,{use},ml.m5.large,900", f"us-east-1,{use},storage-gb-month,0.14"
    asked = "\n".join(["region,use,item,usd,as_of,source", *(f"{row},2036-01-01,the test" for row in rows)])
    (tmp_path / "asked.csv").write_text(asked)
    monkeypatch.setenv("TRAINMASTER_PRICES_FILE", str(tmp_path / "asked.csv"))
    with pytest.raises(RefusedError, match=said):
        train_and_serve(request(f"{use}-costs-more-now"))
    assert jobs_named(stack, f"{use}-costs-more-now") == []


def test_an_endpoint_that_costs_too_much_an_hour_is_refused_before_training_is_paid_for(stack: Any) -> None:
    asked = request("dear-endpoint")
    endpoint = asked.endpoint.model_copy(update={"instance_count": 20})
    with pytest.raises(OverBudgetError, match="an hour"):
        train_and_serve(asked.model_copy(update={"endpoint": endpoint}))
    assert jobs_named(stack, "dear-endpoint") == []


def test_a_fraction_that_leaves_nothing_to_validate_with_is_refused_before_training_is_paid_for(stack: Any) -> None:
    with pytest.raises(DatasetRefusedError, match="leaves 199 to train on and 1 to validate"):
        train_and_serve(request("no-split", validation_fraction=0.001))
    assert jobs_named(stack, "no-split") == []


def test_removing_says_first_then_does_and_keeps_the_artifact(stack: Any, done: TrainedAndServed) -> None:
    sagemaker = stack.client("sagemaker")
    said = remove_endpoint(RemovalRequest(endpoint_name="main-job"))
    assert (said.removed, said.found.endpoint) == (False, "main-job")
    assert sagemaker.describe_endpoint(EndpointName="main-job")["EndpointStatus"] == "InService"

    did = remove_endpoint(RemovalRequest(endpoint_name="main-job", dry_run=False))
    assert (did.found.configs, did.found.models) == ([done.served.config_name], [done.served.model_name])
    assert sagemaker.list_endpoints(NameContains="main-job")["Endpoints"] == []
    assert sagemaker.list_endpoint_configs(NameContains="main-job")["EndpointConfigs"] == []
    assert sagemaker.list_models(NameContains="main-job")["Models"] == []
    artifact = S3Address.parse(done.served.model_uri)
    assert stack.client("s3").head_object(Bucket=artifact.bucket, Key=artifact.key)["ContentLength"] > 0

    assert str(remove_endpoint(RemovalRequest(endpoint_name="main-job", dry_run=False)).found) == "nothing"
