"""The SageMaker experiment and trial a job is tracked in: AWS takes no job that names one there is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_missing

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


def ensure_trial(sagemaker: SageMakerClient, config: Mapping[str, str]) -> None:
    """Afterwards there are the experiment and trial of an ExperimentConfig. Safe to repeat and to race; one call when they are there.

    Raises botocore's ClientError for what AWS refuses.
    """
    experiment, trial = config["ExperimentName"], config["TrialName"]

    def describe_trial() -> Any:
        return sagemaker.describe_trial(TrialName=trial)

    if _is_there(describe_trial):
        return
    _ensure(
        lambda: sagemaker.create_experiment(ExperimentName=experiment),
        lambda: sagemaker.describe_experiment(ExperimentName=experiment),
    )
    _ensure(lambda: sagemaker.create_trial(TrialName=trial, ExperimentName=experiment), describe_trial)


def _ensure(create: Callable[[], Any], describe: Callable[[], Any]) -> None:
    try:
        create()
    except ClientError:
        # That a name is taken has no code of its own here (it is a ValidationException): whether it is there tells.
        if not _is_there(describe):
            raise


def _is_there(describe: Callable[[], Any]) -> bool:
    try:
        describe()
    except ClientError as error:
        if is_missing(error):
            return False
        raise
    return True
