"""Exactly one job for a plan, paid for before it is made, however often it is launched."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Literal

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_missing, is_refusal, is_taken
from trainmaster.budget.charge import Allowance, Reservation
from trainmaster.budget.entries import over_budget
from trainmaster.budget.money import micro_up, rounded
from trainmaster.catalog.deployments import Deployment, Job, Stop, deployment_id_of
from trainmaster.errors import NameConflictError, OverBudgetError, RefusedError
from trainmaster.training.desk import Desk
from trainmaster.training.experiments import ensure_trial
from trainmaster.training.plan import FINGERPRINT_TAG, TrainingPlan
from trainmaster.training.stopping import stop_training

_log = logging.getLogger(__name__)

Launch = Literal["created", "found", "joined"]
"""Joined: the job appeared while we were creating it, by a twin of ours or by a call of ours whose answer was lost."""


def launch_training(desk: Desk, plan: TrainingPlan, *, run: str = "", allowance: Allowance | None = None) -> Launch:
    """Note the deployment, reserve the worst case and create the job, or find the one created earlier with what was reserved
    for it then. `run` is the flow run that launches it, if one does; `allowance` somebody's word to exceed the budgets.

    Whoever dies on the way leaves a row, a reservation, or a job with both; the next launch goes on from there. Raises
    OverBudgetError, and NameConflictError when the name is another request's; of what AWS refused nothing stays reserved.
    """
    deployment = desk.deployments.begin(deployment_of(plan, run))
    try:
        if _exists(desk, plan):
            desk.ledger.adopt(plan.charge)
            return "found"
        launch = _reserve_and_create(desk, plan, deployment, allowance)
    except (ClientError, RefusedError) as error:
        if isinstance(error, RefusedError) or is_refusal(error):
            _give_up(desk, deployment, str(error))
        raise
    _require_paid(desk, plan, deployment, allowance)
    return launch


def require_money(plan: TrainingPlan) -> None:
    """Raises OverBudgetError when a budget had too little left for the job as it was planned, unless it was paid for before.

    For whoever may ask somebody: what is refused before it is launched leaves no row.
    """
    found, amount = plan.circumstances, micro_up(plan.charge.amount)
    if found is None or found.launched:
        return
    short = [(one.left, one) for one in found.standings if one.left is not None and one.left < amount]
    if short:
        tightest_first = [one for _, one in sorted(short, key=lambda each: each[0])]
        raise over_budget(plan.charge, tightest_first, plan.approval.cheaper)


def deployment_of(plan: TrainingPlan, run: str) -> Deployment:
    """The row of a job that is about to be created. Raises NotConfiguredError when nobody is said whose it is."""
    user_id = plan.request.payer.user_id
    assert user_id is not None  # noqa: S101 - a request without a user is refused before it becomes a plan
    config_id = plan.request.training_config_id
    return Deployment(
        id=deployment_id_of(plan.charge.resource),
        user_id=user_id,
        deployment_id=plan.job_name,
        status="creating",
        created_at=datetime.now(UTC),
        training_config_id=None if not config_id else type(user_id)(config_id),
        job=Job(arn=plan.charge.resource, request=plan.request.model_dump(mode="json"), runs=(run,) if run else ()),
        estimated_cost=rounded(plan.approval.worst_case),
        budget_limit=plan.request.budget_limit,
    )


def _reserve_and_create(desk: Desk, plan: TrainingPlan, deployment: Deployment, allowance: Allowance | None) -> Launch:
    if deployment.has_ended or deployment.stop_asked:
        raise RefusedError(_stopped_early(deployment))
    reservation = _reserve(desk, plan, allowance)
    if not reservation.is_open:
        return _require_exists(desk, plan)
    try:
        desk.client("sagemaker").create_training_job(**_trackable(desk, plan))
    except ClientError as error:
        # Of a refusal too: botocore tries again when an answer is lost, and the first try may have made the job.
        if is_refusal(error) and _exists(desk, plan):
            return "joined"
        # Of any other failure nobody knows whether the job was made. The next try finds out, or reconcile does.
        if is_refusal(error) and not is_taken(error):
            desk.ledger.release(plan.job_name, reservation.position)
        raise
    return "created"


def _reserve(desk: Desk, plan: TrainingPlan, allowance: Allowance | None) -> Reservation:
    known = desk.ledger.find(plan.job_name)
    if known and known.is_open and known.charge.amount != micro_up(plan.charge.amount):
        # By a launch that got no further, at the prices of then. Should it create the job after all, it finds it paid for.
        desk.ledger.release(plan.job_name, known.position)
    return desk.ledger.reserve(plan.charge, plan.approval.cheaper, allowance)


def _give_up(desk: Desk, deployment: Deployment, why: str) -> None:
    """Say in the row that there is no job, unless a twin is about to make it after all, or has."""
    reservation = desk.ledger.find(deployment.deployment_id)
    if reservation is None or reservation.state == "released":
        desk.deployments.give_up(deployment.id, why)


def _trackable(desk: Desk, plan: TrainingPlan) -> dict[str, Any]:
    """The plan's request once its experiment is there; without one where AWS refuses it, full or denied. That is neither a lack of
    machines nor a reason not to train, and the job is the same: its fingerprint says nothing of where it is tracked."""
    config = plan.create_request["ExperimentConfig"]
    try:
        ensure_trial(desk.client("sagemaker"), config)
    except ClientError as error:
        if not is_refusal(error):
            raise
        experiment = config["ExperimentName"]
        _log.warning("Training job %s is not tracked in experiment %s: %s", plan.job_name, experiment, error)
        return {name: value for name, value in plan.create_request.items() if name != "ExperimentConfig"}
    return plan.create_request


def _stopped_early(deployment: Deployment) -> str:
    stop = deployment.job.stop
    by = f" by {stop.by} ({stop.why})" if stop else ""
    return (
        f"Training job {deployment.deployment_id} was stopped{by} before it was launched."
        " Set attempt to one more to train after all."
    )


def _require_paid(desk: Desk, plan: TrainingPlan, deployment: Deployment, allowance: Allowance | None) -> None:
    """A twin that AWS refused, or reconcile when we were asleep, may have released the reservation between our two calls, and
    another taken the money."""
    known = desk.ledger.find(plan.job_name)
    if known and known.state != "released":
        return
    desk.deployments.begin(deployment)  # whoever released it may have given up the row as well
    try:
        desk.ledger.reserve(plan.charge, plan.approval.cheaper, allowance)
    except OverBudgetError as error:
        desk.ledger.adopt(plan.charge)
        # Whoever tends the job asks again until it has stopped.
        desk.deployments.change(deployment.id, stop=Stop("Trainmaster", str(error), datetime.now(UTC)))
        stop_training(desk.client("sagemaker"), plan.job_name)
        raise


def _require_exists(desk: Desk, plan: TrainingPlan) -> Launch:
    """What is billed has run and is never run again on the same bill."""
    if _exists(desk, plan):  # by a twin, all the way to the end, since we last looked
        return "joined"
    raise NameConflictError(
        f"Training job {plan.job_name} was run and billed, but AWS does not know it any more. Set attempt to one more to"
        " train again."
    )


def _exists(desk: Desk, plan: TrainingPlan) -> bool:
    sagemaker = desk.client("sagemaker")
    try:
        arn = sagemaker.describe_training_job(TrainingJobName=plan.job_name)["TrainingJobArn"]
    except ClientError as error:
        if is_missing(error):
            return False
        raise
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    tags = {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}
    if tags.get(FINGERPRINT_TAG) != plan.fingerprint:
        raise NameConflictError(
            f"Training job {plan.job_name} exists, made from a different request"
            f" (fingerprint {tags.get(FINGERPRINT_TAG, 'none')!s:.10}, ours {plan.fingerprint:.10})."
            " Choose another model_name or attempt."
        )
    return True
