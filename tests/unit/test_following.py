"""Following a job: what a Describe means, and a wait that outlives faults but not its patience."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from trainmaster.aws.failures import is_passing
from trainmaster.aws.polling import Patience, answers
from trainmaster.budget.approval import Approval, Rate
from trainmaster.errors import TrainingFailedError
from trainmaster.training.following import Cadence, next_step
from trainmaster.training.outcome import outcome_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RATE = Rate(Decimal("3.60"))
CADENCE = Cadence(30, 600)


def aws_error(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Describe"
    )  # type: ignore[typeddict-item]


def job(**members: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": "cats-1",
        "TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/job",
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Training",
        **members,
    }


def test_a_job_without_instances_has_cost_nothing_yet() -> None:
    step = next_step(job(SecondaryStatus="Starting"), NOW, CADENCE, RATE)
    assert (step.cost, step.seconds, step.finished) == (0, 0, False)


def test_a_running_job_is_costed_by_the_time_since_its_instances_started() -> None:
    assert next_step(job(TrainingStartTime=NOW - timedelta(seconds=50)), NOW, CADENCE, RATE).cost == Decimal("0.05")


def test_a_finished_job_is_costed_by_what_aws_bills_not_by_the_clock() -> None:
    done = job(
        TrainingJobStatus="Completed", SecondaryStatus="Completed", TrainingStartTime=NOW - timedelta(hours=9),
        TrainingEndTime=NOW, TrainingTimeInSeconds=1000, BillableTimeInSeconds=300,
    )  # fmt: skip
    step = next_step(done, NOW, CADENCE, RATE)
    assert (step.cost, step.seconds, step.finished, step.percent) == (Decimal("0.3"), 1000, True, 100)


def test_a_clock_behind_awss_gives_no_negative_cost() -> None:
    assert next_step(job(TrainingStartTime=NOW + timedelta(seconds=9)), NOW, CADENCE, RATE).cost == 0


@pytest.mark.parametrize(
    "error",
    [
        aws_error("ThrottlingException"),
        aws_error("Whatever", 503),
        aws_error("ExpiredTokenException"),
        EndpointConnectionError(endpoint_url="http://x"),
    ],
)
def test_throttling_server_faults_expired_tokens_and_cuts_pass(error: Exception) -> None:
    assert is_passing(error)


@pytest.mark.parametrize(
    "code", ["ValidationException", "AccessDeniedException", "ResourceLimitExceeded", "ResourceInUse"]
)
def test_a_refusal_does_not_pass(code: str) -> None:
    assert not is_passing(aws_error(code))


def test_a_wait_goes_on_through_passing_faults_waiting_longer_each_time() -> None:
    script: list[Any] = [1, aws_error("ThrottlingException"), aws_error("ThrottlingException"), 2]
    slept: list[float] = []

    def ask() -> int:
        item = script.pop(0)
        if isinstance(item, Exception):
            raise item
        return int(item)

    heard = answers(ask, Patience(10, 600, 600), sleep=slept.append)
    assert [next(heard), next(heard)] == [1, 2]
    assert 9 <= slept[0] <= 11
    assert 18 <= slept[1] <= 22
    assert 36 <= slept[2] <= 44


def test_a_refusal_ends_a_wait_at_once() -> None:
    def ask() -> int:
        raise aws_error("AccessDeniedException")

    with pytest.raises(ClientError):
        next(answers(ask, Patience(10, 600, 600), sleep=lambda _: None))


def test_an_outage_longer_than_allowed_is_raised() -> None:
    def ask() -> int:
        raise aws_error("ThrottlingException")

    with pytest.raises(ClientError):
        next(answers(ask, Patience(0.001, 0.05, 600)))


def test_a_wait_ends_when_its_patience_does() -> None:
    assert len(list(answers(lambda: 1, Patience(0.001, 1, 0.05)))) > 1


APPROVAL = Approval(RATE, Decimal("1.00"), 60, 3600)


def test_a_stopped_job_is_no_success_and_says_that_its_budget_ended_it() -> None:
    stopped = job(TrainingJobStatus="Stopped", SecondaryStatus="MaxRuntimeExceeded", BillableTimeInSeconds=60)
    with pytest.raises(TrainingFailedError, match=r"60 s, what its budget pays for. It cost \$0.06") as failed:
        outcome_of(stopped, APPROVAL, found=False, log_tail=["last words"])
    assert failed.value.log_tail == ["last words"]


def test_a_completed_job_without_training_time_saves_nothing_rather_than_dividing_by_zero() -> None:
    done = job(
        TrainingJobStatus="Completed",
        SecondaryStatus="Completed",
        ModelArtifacts={"S3ModelArtifacts": "s3://b/j/output/model.tar.gz"},
    )
    outcome = outcome_of(done, APPROVAL, found=False, log_tail=[])
    assert (outcome.bill, outcome.savings_percent, outcome.output_uri) == (0, 0, "s3://b/j/output/output.tar.gz")


def test_a_bill_aws_does_not_report_is_costed_by_the_time_trained_never_as_nothing() -> None:
    done = job(
        TrainingJobStatus="Completed", SecondaryStatus="Completed", TrainingTimeInSeconds=100,
        ModelArtifacts={"S3ModelArtifacts": "s3://b/j/output/model.tar.gz"},
    )  # fmt: skip
    assert outcome_of(done, APPROVAL, found=False, log_tail=[]).bill == Decimal("0.1")


def test_the_bill_is_billable_time_at_the_on_demand_rate() -> None:
    done = job(
        TrainingJobStatus="Completed", SecondaryStatus="Completed", TrainingTimeInSeconds=100, BillableTimeInSeconds=30,
        ModelArtifacts={"S3ModelArtifacts": "s3://b/j/output/model.tar.gz"},
    )  # fmt: skip
    outcome = outcome_of(done, APPROVAL, found=False, log_tail=[])
    assert (outcome.bill, outcome.savings_percent) == (Decimal("0.0300"), 70)
