"""Train a model as one SageMaker job, within its budget and those of who pays; on other machines when AWS has none of the first.
Started from the Prefect UI, by `train-and-serve`, or by `python -m flows.train_model`; the same request again finds the same job.
Leaves a model in S3 and in the registry, the job's log, progress and loss in the run, and what came of each attempt; cancelled, no job.
"""

from prefect import flow

from tasks.approval import ask_if_over_budget
from tasks.cancelling import stop_jobs_of_cancelled, stopping_when_cancelled
from tasks.following import follow_job
from tasks.registry import register_model
from tasks.reports import ended_as, report_plan, report_result
from tasks.telling import say_why
from tasks.training import (
    hand_over,
    launch_job,
    migrate_missing,
    name_after_config,
    name_of_run,
    plan_job,
    settle_job,
    start,
)
from trainmaster.settings import Settings
from trainmaster.training.request import TrainingRequest
from trainmaster.training.result import TrainingResult, completed, launched, planned, refused


@flow(name="train-model", flow_run_name=name_of_run, on_cancellation=[stop_jobs_of_cancelled], on_failure=[say_why])
def train_model(request: TrainingRequest) -> TrainingResult:
    settings = Settings()
    with stopping_when_cancelled():
        migrate_missing(request, settings)
        result = attempt_until_trained(request, settings)
    if result.outcome:
        register_model(result.outcome.job_name, settings, return_state=True)  # the same request again registers it
    report_result(result, settings, return_state=True)  # a report that fails spoils no training
    return ended_as(result)


def attempt_until_trained(request: TrainingRequest, settings: Settings) -> TrainingResult:
    """One attempt; another only when AWS had no capacity for it, on the machines that are next."""
    chain = start(request, settings)
    while True:
        plan, chain = plan_job(chain, settings)
        name_after_config(plan)
        if request.dry_run:
            report_plan(plan)
            return planned(plan)
        answer = ask_if_over_budget(plan, settings)
        if answer.refusal:
            return refused(plan, chain, answer.refusal)
        plan = answer.plan
        launch = launch_job(plan, chain, answer.allowance, settings)
        if launch.runs and not request.wait and not launch.lacked:
            hand_over(plan, settings)
            return launched(plan, chain)
        settled = settle_job(plan, chain, follow_job(plan, settings), launch, settings) if launch.runs else launch
        if settled.outcome:
            return completed(plan, chain, settled.outcome)
        chain = chain.tried(settled.attempt)
