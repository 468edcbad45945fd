"""What a job likely failed of, told from what AWS and the log really say."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from model.finetune.failures import Stage, diverged, killed, out_of_memory
from model.finetune.hyperparameters import Hyperparameters
from trainmaster.budget.approval import Approval, Rate
from trainmaster.catalog.deployments import Stop
from trainmaster.errors import TrainingFailedError
from trainmaster.training import attempts, tending
from trainmaster.training.causes import TRAINMASTER, cause_of, cause_of_reason
from trainmaster.training.leftovers import Leftovers, Listing
from trainmaster.training.outcome import outcome_of

APPROVAL = Approval(Rate(Decimal("3.60")), Decimal("1.00"), 3600, 3600)
TORCH_OOM = """\
Traceback (most recent call last):
  File "/opt/ml/code/train.py", line 12, in <module>
    trainer.train()
[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 21.99 GiB
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED"""
KEY_ERROR = """\
INFO: will retry on CUDA out of memory with half the batch
Warning: No space left on device was seen before, cleaned up
Traceback (most recent call last):
  File "/opt/ml/code/train.py", line 3, in main
    return row["label"]
KeyError: 'label'"""
CHAINED = """\
FileNotFoundError: [Errno 2] No such file or directory: '/opt/ml/input/data/training/train.jsonl'
During handling of the above exception, another exception occurred:
Traceback (most recent call last):
SystemExit: 1"""
EXIT_1 = 'AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage ""\nCommand "/usr/bin/python3 train.py", exit code: 1'


@pytest.mark.parametrize(
    ("kind", "reason", "log"),
    [
        ("memory", "AlgorithmError: , exit code: 137", ""),
        ("memory", EXIT_1, TORCH_OOM),
        ("memory", 'AlgorithmError: ExecuteUserScriptError: ErrorMessage "RuntimeError: CUDA out of memory. Tried", exit code: 1', ""),
        ("memory", EXIT_1, "Traceback (most recent call last):\nMemoryError"),
        ("memory", EXIT_1, "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 74.5 GiB for an array with shape (1, 2)"),
        ("memory", EXIT_1, "terminate called after throwing an instance of 'std::bad_alloc'"),
        ("memory", EXIT_1, "subprocess.CalledProcessError: Command '['python']' died with <Signals.SIGKILL: 9>."),
        ("memory", "AlgorithmError: Out of memory: the host had none left before the first step, with batch_size 4., exit code: 1", ""),
        ("diverged", "AlgorithmError: Training diverged: the loss was not a number (NaN) at step 3 of 9., exit code: 1", ""),
        ("diverged", EXIT_1, "FloatingPointError: Loss became infinite or NaN at iteration=12!"),
        ("disk", EXIT_1, "OSError: [Errno 28] No space left on device: '/opt/ml/checkpoints/step-100'"),
        ("disk", "ClientError: Data download failed: No space left on device", ""),
        ("quota", "ResourceLimitExceeded: The account-level service limit 'ml.g5.xlarge for training job usage' is 0", ""),
        ("capacity", "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type.", ""),
        ("service", "InternalServerError: We encountered an internal error. Please try again.", ""),
        ("permission", "ClientError: Data download failed: An error occurred (AccessDenied) when calling GetObject", ""),
        ("permission", EXIT_1, "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling the PutObject operation"),
        ("permission", EXIT_1, "OSError: You are trying to access a gated repo.\nMake sure to have access."),
        ("data", "ClientError: Data download failed: No S3 objects found under S3 URL \"s3://b/x\" given in input data source.", ""),
        ("data", "AlgorithmError: There is no CSV file in the training channel; it holds: nothing., exit code: 1", ""),
        ("data", "AlgorithmError: The training data has 1,204 problems: a.csv line 2: …., exit code: 1", ""),
        ("data", EXIT_1, CHAINED),
        ("data", EXIT_1, "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0"),
        ("data", EXIT_1, "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        ("data", EXIT_1, "datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset"),
        ("code", EXIT_1, KEY_ERROR),
        ("code", EXIT_1, ""),
        ("code", "AlgorithmError: Hyperparameters: seed is -1; it must lie between 0 and 9., exit code: 1", ""),
        ("code", EXIT_1, "ModuleNotFoundError: No module named 'peft'"),
        ("code", "AlgorithmError: , exit code: 139", "Fatal Python error: Segmentation fault"),
        ("unknown", "", ""),
        ("unknown", "Something AWS says from next year on", ""),
    ],
)  # fmt: skip
def test_a_failed_job_failed_likely_of(kind: str, reason: str, log: str) -> None:
    failed = {"TrainingJobStatus": "Failed", "SecondaryStatus": "Failed", "FailureReason": reason}
    cause = cause_of(failed, log.splitlines())
    assert cause
    assert cause.kind == kind
    assert cause.why.endswith(".")
    assert cause.advice.endswith((".", ")."))


def test_what_it_was_told_by_is_shown() -> None:
    cause = cause_of_reason(EXIT_1, TORCH_OOM.splitlines())
    assert cause.evidence.startswith("[rank0]: torch.OutOfMemoryError: CUDA out of memory")


def test_what_our_own_trainer_says_of_itself_is_said_in_its_words_and_with_its_numbers() -> None:
    asked = Hyperparameters(batch_size=8, gradient_accumulation_steps=2)
    reason = out_of_memory(
        asked, Stage(step=2, gpus=1, gigabytes=23.7, gpu=True), "CUDA out of memory. Tried to allocate 2 GiB."
    )
    cause = cause_of_reason(f"AlgorithmError: {reason}, exit code: 1")
    assert cause.kind == "memory"
    assert cause.why.startswith("Out of memory: a GPU of 24 GB had none left at step 3, with batch_size 8,")
    assert cause.advice.startswith("Change, by effect: 1. batch_size 8 → 4 with gradient_accumulation_steps 2 → 4")
    assert "It said" not in cause.advice
    cause = cause_of_reason(f"AlgorithmError: {killed(asked, Stage(gpus=4), 'The process of rank 3')}, exit code: 1")
    assert (cause.kind, cause.why[:40]) == ("memory", "The process of rank 3 was killed by sign")
    told = diverged(
        asked, what="the loss", value=math.nan, step=12, steps=40, last=2.31, at=1e-4, sound="checkpoint-10 is sound"
    )
    cause = cause_of_reason(f"AlgorithmError: {told}, exit code: 1")
    assert (cause.kind, cause.advice[:42]) == ("diverged", "Try: learning_rate 0.0002 → 2e-05; warmup_")


def test_what_a_job_that_completed_or_runs_says_is_no_cause() -> None:
    for status in ("Completed", "InProgress", "Stopping"):
        assert cause_of({"TrainingJobStatus": status}, TORCH_OOM.splitlines()) is None


def test_an_error_that_was_survived_long_ago_is_not_what_it_was() -> None:
    log = [*TORCH_OOM.splitlines(), *["still training"] * 500, "KeyError: 'label'"]
    assert cause_of_reason(EXIT_1, log[-200:]).kind == "code"
    assert cause_of({"TrainingJobStatus": "Failed", "FailureReason": EXIT_1}, log).kind == "code"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "line", ["Error" * 50_000, "a." * 100_000, " " * 100_000 + "Error", "[" * 100_000, "FileNotFoundError" * 9000]
)
def test_a_line_made_to_be_slow_is_judged_all_the_same(line: str) -> None:
    cause_of({"TrainingJobStatus": "Failed", "FailureReason": EXIT_1}, [line] * 200)


def stopped(secondary: str = "Stopped", *walk: str, **members: Any) -> dict[str, Any]:
    transitions = [{"Status": status} for status in walk]
    return {
        "TrainingJobStatus": "Stopped",
        "SecondaryStatus": secondary,
        "SecondaryStatusTransitions": transitions,
        **members,
    }


def by(who: str) -> Stop:
    return Stop(who, "enough of it", datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("description", "stop", "kind", "said"),
    [
        (stopped(), by("anna"), "stopped", "stopped by anna: enough of it."),
        (stopped(), by(tending.TRAINMASTER), "budget", "stopped by Trainmaster: enough of it."),
        (stopped(), by(attempts.FALLBACK), "capacity", "stopped by fallback"),
        (stopped(), None, "stopped", "AWS does not say by whom"),
        (stopped("MaxWaitTimeExceeded", "Starting", "Pending"), None, "capacity", "No spot instances"),
        (stopped("MaxWaitTimeExceeded", "Starting", "Training", "Interrupted"), None, "interrupted", "taken away"),
        (stopped("MaxRuntimeExceeded"), by("anna"), "runtime", "longest runtime asked for"),
    ],
)
def test_a_stopped_job_says_by_whom_and_why(
    description: dict[str, Any], stop: Stop | None, kind: str, said: str
) -> None:
    with pytest.raises(TrainingFailedError) as failed:
        outcome_of(
            {"TrainingJobName": "cats-1", **description},
            APPROVAL,
            found=False,
            log_tail=[],
            stop=stop,
        )
    assert failed.value.kind == kind
    assert failed.value.is_capacity == (kind in ("capacity", "interrupted"))
    assert said in str(failed.value)


def test_an_error_says_what_it_likely_was_what_to_do_and_what_is_left() -> None:
    left = Leftovers(checkpoints=Listing(uri="s3://b/c/", count=3, size_bytes=12_000_000))
    failed = {
        "TrainingJobName": "cats-1",
        "TrainingJobStatus": "Failed",
        "SecondaryStatus": "Failed",
        "FailureReason": EXIT_1,
    }
    with pytest.raises(TrainingFailedError) as raised:
        outcome_of(
            failed,
            APPROVAL,
            found=False,
            log_tail=["begun"] * 20 + TORCH_OOM.splitlines(),
            left=left,
        )
    message = str(raised.value)
    assert "It likely ran out of memory. Take a smaller batch" in message
    assert "It left checkpoints: 3 objects, 12.0 MB, at s3://b/c/." in message
    assert message.count("\n  | ") == 15
    assert raised.value.kind == "memory"


def test_who_stops_what_no_person_stops_has_one_name() -> None:
    assert TRAINMASTER == tending.TRAINMASTER
