"""Train a model on data in S3 as one SageMaker job, within its budget and those of who pays.
Started from the Prefect UI, by `train-and-serve`, or by `python -m flows.train_model`; the same request again finds the same job.
Leaves a model in S3, the job's log and progress in the run, and its metrics, cost and picture as artifacts.
"""

from __future__ import annotations

from prefect import flow

from tasks.reports import draw_predictions, report_training
from tasks.training import follow_job, launch_job, plan_job, settle_job
from trainmaster.budget.budgets import Payer
from trainmaster.settings import Settings
from trainmaster.training.outcome import TrainingOutcome
from trainmaster.training.request import TrainingRequest


@flow(name="train-model", flow_run_name="train {request.model_name} #{request.attempt}")
def train_model(request: TrainingRequest) -> TrainingOutcome:
    settings = Settings()
    request = request.paid_by(Payer(settings.user_id, settings.team))
    plan = plan_job(request, settings)
    found = launch_job(plan, settings)
    ending = follow_job(plan, settings)
    outcome = settle_job(plan, ending, found, settings)
    report_training(outcome, return_state=True)  # reports that fail spoil no training
    draw_predictions(outcome, settings, return_state=True)
    return outcome
