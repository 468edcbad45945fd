"""What becomes of a request to train: a job and a run that follows it, a run that does something first, or a refusal that says all."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from fastapi.responses import JSONResponse

from trainmaster.budget.budgets import Payer
from trainmaster.budget.money import micro_up, rounded
from trainmaster.catalog.configs import TrainingConfig
from trainmaster.catalog.idempotency import KeptAnswer
from trainmaster.errors import (
    FlowRunsUnavailableError,
    OverBudgetError,
    RefusedError,
    TrainingMissingError,
    TrainingRefusedError,
)
from trainmaster.http_api.answers import refusal
from trainmaster.http_api.budget import budgets_left
from trainmaster.http_api.callers import Caller
from trainmaster.http_api.deploy_request import DeployRequest, request_of
from trainmaster.http_api.office import Office, StartedRun
from trainmaster.http_api.training_models import FlowRunAnswer, ForeignDataset, TrainingAwaited, TrainingDeployment
from trainmaster.training.channels import is_in_s3
from trainmaster.training.desk import Desk
from trainmaster.training.ordering import Order, order_training, rehearse
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.request import TrainingRequest

FLOW = "train-model"


def desk_of(office: Office, caller: Caller) -> Desk:
    """The office's desk as the caller sits at it: what nobody else says is theirs. A team that the token does not name is the
    installation's, TRAINMASTER_TEAM, as it is for every run."""
    settings = office.desk.settings
    team = caller.team or settings.team
    return replace(office.desk, settings=settings.model_copy(update={"user_id": caller.user_id, "team": team}))


def payer_of(desk: Desk) -> Payer:
    """Who pays for what is done at a caller's desk."""
    return Payer(desk.settings.user_id, desk.settings.team)


def deploy(office: Office, desk: Desk, asked: DeployRequest) -> KeptAnswer:
    """Safe to repeat and to race. Raises TrainingMissingError of a config, and what `order_training` does."""
    request = request_of(asked, payer_of(desk))
    config = _config(desk, request)
    missing = [one for one in config.datasets if not is_in_s3(one)] if config else []
    if missing and request.migrate_missing:
        said = f"{len(missing)} dataset{'s are' if len(missing) > 1 else ' is'} copied to S3 first."
        return _awaited(office, request, rehearse(desk, request), said)
    if request.on_over_budget == "ask" and (short := _short(plan := rehearse(desk, request))):
        return _awaited(office, request, plan, f"It waits for somebody's approval: {'; '.join(short)}.")
    order = order_training(desk, request)
    run, notes = _followed(office, desk, order, request)
    deployment = TrainingDeployment.of(order.seen, run=run, notes=[*order.plan.notes, *notes])
    return KeptAnswer(200 if order.launch == "found" else 201, deployment.model_dump_json())


def refused(desk: Desk, asked: DeployRequest, error: RefusedError, scope: MutableMapping[str, Any]) -> JSONResponse:
    """Everything that is wrong at once: 402 where it is money alone, with what is left; else 400."""
    problems = error.problems if isinstance(error, TrainingRefusedError) else ()
    said: dict[str, Any] = {
        "problems": [{"kind": one.kind, "message": one.message, "remedy": one.remedy} for one in problems]
    }
    is_money = isinstance(error, OverBudgetError) or {one.kind for one in problems} == {"budget"}
    if isinstance(error, OverBudgetError):
        said |= {"approved": str(error.approved), "choices": list(error.choices)}
    if any(one.kind == "budget" for one in problems) or is_money:
        said["budgets"] = [one.model_dump(mode="json") for one in budgets_left(desk, payer_of(desk))]
    if not is_money:
        config = _config(desk, request_of(asked, payer_of(desk)))
        missing = [one for one in config.datasets if not is_in_s3(one)] if config else []
        said["non_s3_datasets"] = [
            ForeignDataset(id=one.id, name=one.name, provider=one.storage_provider).model_dump(mode="json")
            for one in missing
        ]
    kind = "OverBudget" if is_money else "TrainingRefused"
    return refusal(kind, str(error), 402 if is_money else 400, scope, **said)


def _config(desk: Desk, request: TrainingRequest) -> TrainingConfig | None:
    """Raises TrainingMissingError of one that the caller has not."""
    if not request.training_config_id or request.payer.user_id is None:
        return None
    config = desk.catalogue.configs.get(UUID(request.training_config_id), request.payer.user_id)
    if config is None:
        raise TrainingMissingError(
            f"You have no training config {request.training_config_id}. Choose one of yours, or make one first."
        )
    return config


def _short(plan: TrainingPlan) -> list[str]:
    """The budgets that have less left than a job may cost which was not launched yet, in words."""
    around, worst = plan.circumstances, micro_up(plan.approval.worst_case)
    standings = () if around is None or around.launched else around.standings
    return [one.sentence() for one in standings if one.left is not None and one.left < worst]


def _awaited(office: Office, request: TrainingRequest, plan: TrainingPlan, said: str) -> KeptAnswer:
    run = _first(office, request, _once(request, plan))
    answer = TrainingAwaited(
        training_job_name=plan.job_name,
        message=said,
        estimated_cost=str(rounded(plan.approval.worst_case)),
        flow_run=FlowRunAnswer.of(run),
        notes=list(plan.notes),
    )
    return KeptAnswer(202, answer.model_dump_json())


def _first(office: Office, request: TrainingRequest, once: str) -> StartedRun:
    """The run that is about it; one that ended without a job, as nobody approved it say, is followed by another. Of several who ask at
    once all get the same, as its key is made of the run before it."""
    about = f"before {once}"
    last = office.runs.latest(about)
    if last and not last.ended:
        return last
    after = f"after {last.id}" if last else "first"
    return office.runs.start(FLOW, request.model_dump(mode="json"), once=f"{once} {after}", about=about)


def _followed(
    office: Office, desk: Desk, order: Order, request: TrainingRequest
) -> tuple[StartedRun | None, list[str]]:
    """The run that shows the job in the Prefect UI, whose cancelling stops it; without one the sweeps follow the job."""
    row = order.seen.deployment
    if order.seen.has_ended:
        return None, []
    followed = request.model_copy(update={"of_job": order.plan.job_name})
    try:
        run = office.runs.start(FLOW, followed.model_dump(mode="json"), once=_once(request, order.plan))
    except FlowRunsUnavailableError as error:
        return None, [
            f"The job runs, and the schedule follow-jobs follows it. No run shows it in the Prefect UI: {error}"
        ]
    desk.deployments.join(row.id, run.id)
    return run, []


def _once(request: TrainingRequest, plan: TrainingPlan) -> str:
    return f"{request.user_id} {FLOW} {plan.job_name}"
