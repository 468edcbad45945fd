"""The page of a training run answers what happened, what it cost and what now, however the job ended; and shows no secret and no markup."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from trainmaster.budget.approval import Approval, Rate
from trainmaster.budget.budgets import ACCOUNT, Payer, Standing
from trainmaster.budget.charge import Charge, Reservation
from trainmaster.catalog.deployments import Deployment, Job, Stop
from trainmaster.endpoints.models.registry import PENDING, Registered
from trainmaster.errors import TrainingFailedError
from trainmaster.reporting.lineage import Lineage, Origin
from trainmaster.reporting.training_page import TrainingStory, training_page
from trainmaster.training.attempts import Attempt
from trainmaster.training.outcome import outcome_of
from trainmaster.training.seen import Seen

NOW = datetime(2026, 11, 22, 4, tzinfo=UTC)
USER = UUID(int=7)
ARN = "arn:aws-cn:sagemaker:cn-north-1:123456789012:training-job/cats-1"
REQUEST = {"instance_type": "ml.g5.xlarge", "instance_count": 2, "use_spot_instances": True}
CURVE = {
    "epoch": 2.0,
    "epochs": 3.0,
    "loss": 0.5,
    "curve": {"axis": "step", "series": {"loss": [[1, 2.0], [2, 1.0], [3, 0.5]]}},
}
EVIL = "<img src=x> | **[a](http://evil)**"


def story(status: str = "completed", bill: str | None = "1.20", **changed: Any) -> TrainingStory:
    ended = status in ("completed", "failed", "stopped")
    job = Job(arn=ARN, request=REQUEST, progress=CURVE)
    row = Deployment(
        UUID(int=1), USER, "cats-1", status, NOW, job=job, budget_limit=Decimal(5), started_at=NOW,
        completed_at=NOW + timedelta(hours=1) if ended else None, metrics={"validation:r2": 0.9123},
    )  # fmt: skip
    row = replace(row, **changed)
    charge = Charge("cats-1", Decimal(4), Decimal("3.6"), ARN, Payer(USER))
    paid = None if bill is None else Decimal(bill)
    reservation = Reservation(charge, "2026-11", NOW, "reserved" if paid is None else "settled", paid, 1)
    word = {"completed": "Completed", "failed": "Failed", "stopped": "Stopped"}.get(status, "InProgress")
    description = {
        "TrainingJobName": "cats-1", "TrainingJobArn": ARN, "TrainingJobStatus": word,
        "SecondaryStatus": word if ended else "Training", "TrainingTimeInSeconds": 3000, "BillableTimeInSeconds": 1200,
        "FailureReason": row.error_message or "", "CreationTime": NOW, "TrainingStartTime": NOW, "LastModifiedTime": NOW,
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }  # fmt: skip
    standings = (Standing(ACCOUNT, "2026-11", Decimal(50), Decimal(20), Decimal("18.90")),)
    origins = (Origin("training", "s3://lab/cats.jsonl.gz", f"cats {EVIL}", "a" * 64),)
    return TrainingStory(Seen(row, reservation, description), Lineage("cats-1", origins), standings)


def test_of_a_job_that_completed_it_leads_on_to_serving_its_model() -> None:
    trained = story()
    version = Registered("arn", "s3://lab/cats-1/output/model.tar.gz", 3, PENDING, "cats", "b" * 64, "cats-1")
    lineage = replace(trained.lineage, version=version, model_uri=version.model_uri)
    page = training_page(replace(trained, lineage=lineage))
    assert page.startswith("# Training job cats-1\n\n**Training job cats-1 completed: \\$1.20 billed.**")
    assert "| how it stands | completed |" in page, "Completed, as AWS says it as well, is no news"
    for said in (
        "| ran on | 2 × ml.g5.xlarge, spot |",
        "| \\$1.20 | ██████░░░░░░░░░░░░░░\N{NO-BREAK SPACE}30\N{NO-BREAK SPACE}% | \\$4.00 | billed, of what it could cost at worst |",
        "| \\$1.20 | ████░░░░░░░░░░░░░░░░\N{NO-BREAK SPACE}24\N{NO-BREAK SPACE}% | \\$5.00 | billed, of its budget\\_limit |",
        "| \\$38.90 | ███████████████░░░░░\N{NO-BREAK SPACE}77\N{NO-BREAK SPACE}% | \\$50.00 |",
        "| 1,200 s |  | 3,000 s | billable of training time; 60 % saved by spot |",
        "![Loss as training went on](data:image/png;base64,iVBOR",
        "| validation:r2 | 0.9123 |",
        "Approve it by `approve-model` (model group cats, version 3), then serve it by `deploy-endpoint`.",
        f"| s3://lab/cats.jsonl.gz | {' '.join(['a' * 16] * 4)} |",
        f"| model | version 3 of cats, PendingManualApproval | s3://lab/cats-1/output/model.tar.gz | {' '.join(['b' * 16] * 4)} |",
        "(https://cn-north-1.console.amazonaws.cn/sagemaker/home?region=cn-north-1#/jobs/cats-1)",
    ):
        assert said in page, page
    assert "## Likely cause" not in page


def test_of_a_job_that_failed_it_says_the_likely_cause_and_hides_secrets_in_its_last_lines() -> None:
    logs = f"loss 0.5\nusing hf_{'x' * 20}\n{EVIL}\ntorch.cuda.OutOfMemoryError: CUDA out of memory"
    page = training_page(story("failed", error_message="AlgorithmError: , exit code: 1", logs=logs))
    assert "## Likely cause\n\nIt likely ran out of memory. Take a smaller batch" in page
    assert "    torch.cuda.OutOfMemoryError" in page
    assert "xxxx" not in page
    assert f"    {EVIL}" in page  # in a block, where nothing is markup
    assert "Set *attempt* to one more to train again" in page


SIGNED = "https://b.s3.amazonaws.com/k?X-Amz-Signature=abcdef0123"


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_what_a_program_or_aws_gave_as_the_reason_shows_no_secret_either(status: str) -> None:
    why = f"AlgorithmError: ExecuteUserScriptError: ErrorMessage requests.HTTPError: 403 for {SIGNED}, exit code: 1"
    attempts = (Attempt(job_name="cats-0", instance_type="ml.g5", spot=True, ended=SIGNED), Attempt(job_name="cats-1", instance_type="ml.g5", spot=False))  # fmt: skip
    shown = training_page(replace(story(status, error_message=why, logs=SIGNED), attempts=attempts))
    assert "abcdef0123" not in shown
    assert "ExecuteUserScriptError" in shown


def test_what_is_raised_of_a_job_that_failed_shows_no_secret_of_its_log_or_reason() -> None:
    """It becomes the state of the run, which is logged, and sent to wherever people are told."""
    description = {"TrainingJobName": "cats-1", "TrainingJobStatus": "Failed", "FailureReason": f"AlgorithmError: {SIGNED}"}  # fmt: skip
    approval = Approval(Rate(Decimal(1)), Decimal(5), 3600, 3600)
    with pytest.raises(TrainingFailedError) as raised:
        outcome_of(description, approval, found=False, log_tail=["loss 0.5", f"using hf_{'x' * 20}", SIGNED])
    assert "abcdef0123" not in str(raised.value)
    assert "xxxx" not in str(raised.value)
    assert "loss 0.5" in str(raised.value)


def test_of_a_job_that_runs_it_says_what_it_costs_at_most_so_far_and_how_to_stop_it() -> None:
    page = training_page(story("training", bill=None))
    assert "**Training job cats-1 is training: \\$" in page
    assert "at most so far" in page
    assert "| progress | epoch 2 of 3, loss 0.5 |" in page
    assert "`trainmaster train stop cats-1` stops it" in page


def test_of_a_job_that_was_stopped_it_says_by_whom_and_why() -> None:
    stop = Stop(f"user {EVIL}", "enough", NOW)
    page = training_page(story("stopped", job=Job(arn=ARN, request=REQUEST, stop=stop)))
    assert "| stopped by | user \\<img src=x\\> \\|" in page
    assert "was stopped: \\$1.20 billed" in page


@pytest.mark.parametrize("status", ["completed", "failed", "stopped", "training"])
def test_what_users_wrote_is_no_markup_anywhere(status: str) -> None:
    attempts = (Attempt(job_name="cats-0", instance_type="ml.p4d", spot=True, ended=EVIL, bill=Decimal(1)), Attempt(job_name="cats-1", instance_type="ml.g5", spot=False))  # fmt: skip
    page = training_page(replace(story(status, error_message=EVIL), attempts=attempts))
    outside = "\n".join(line for line in page.splitlines() if not line.startswith("    "))
    assert "<img" not in outside.replace("\\<img", "")
    assert "](http://evil)" not in outside.replace("\\](http://evil)", "")
    assert "| \\$2.20 | ████████░░░░░░░░░░░░\N{NO-BREAK SPACE}44\N{NO-BREAK SPACE}% | \\$5.00 | all attempts, of its budget\\_limit |" in page or status == "training"  # fmt: skip
