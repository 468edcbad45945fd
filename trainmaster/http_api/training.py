"""Trainings on SageMaker over HTTP: launched once within their budgets, looked at, stopped."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from trainmaster.aws.failures import is_passing
from trainmaster.catalog.deployments import LARGEST_PAGE, Deployment
from trainmaster.errors import (
    FlowRunsUnavailableError,
    OverBudgetError,
    TrainingMissingError,
    TrainingRefusedError,
    WaitTimedOutError,
)
from trainmaster.http_api.answers import ErrorAnswer
from trainmaster.http_api.callers import Asking, Caller
from trainmaster.http_api.deploy_request import DeployRequest
from trainmaster.http_api.deploying import deploy, desk_of, refused
from trainmaster.http_api.office import AtOffice, Office, StartedRun
from trainmaster.http_api.once import REPLAYED_HEADER, IdempotencyKey, answer_once
from trainmaster.http_api.training_models import Status, TrainingAwaited, TrainingDeployment, TrainingList
from trainmaster.training.desk import Desk
from trainmaster.training.logs import last_lines
from trainmaster.training.looking import is_here
from trainmaster.training.seen import Seen, see
from trainmaster.training.stopping import stop_training

PATH = "/api/training/deploy/sagemaker"
MOST_LINES = 1000
ASK_SECONDS = 10.0
"""How long AWS is asked to stop a job while somebody waits for the answer; the sweeps go on asking."""
_NO_NUL = r"^[^\x00]*$"
router = APIRouter(prefix=PATH, tags=["training"])

Which = Annotated[
    str,
    Path(
        min_length=1,
        max_length=63,
        pattern=_NO_NUL,
        description="The deployment_id, or the name of its training job.",
        examples=["7a0d3c52-9d0b-5f6e-8a41-1f0f6c115a58"],
    ),
]
Lines = Annotated[int, Query(ge=0, le=MOST_LINES, description="How many of the last lines of its log.")]
Why = Annotated[str, Query(min_length=1, max_length=500, description="Kept with it, for whoever wonders.")]
_Responses = dict[int | str, dict[str, Any]]
_MISSING: _Responses = {404: {"model": ErrorAnswer, "description": "The caller has no such training."}}
_ANSWERS: _Responses = {
    201: {"model": TrainingDeployment, "description": "It is launched."},
    200: {"model": TrainingDeployment, "description": "It was launched before, by the same request: the same job."},
    202: {"model": TrainingAwaited, "description": "Its flow run copies datasets first, or waits for an approval."},
    400: {
        "model": ErrorAnswer,
        "description": "Refused before anything was launched; `problems` has all that is wrong, `non_s3_datasets` the datasets"
        " that are not in S3, where SageMaker reads.",
    },
    402: {
        "model": ErrorAnswer,
        "description": "It would cost more than is left; `budgets` says what is, `problems` what would fit.",
    },
    404: {"model": ErrorAnswer, "description": "The caller has no such training config."},
    409: {
        "model": ErrorAnswer,
        "description": "The job's name, or the Idempotency-Key, belongs to another request. Nothing was done.",
    },
}


@router.post("", summary="Train", status_code=201, response_model=TrainingDeployment, responses=_ANSWERS)
def launch(
    asked: DeployRequest, request: Request, caller: Asking, office: AtOffice, idempotency_key: IdempotencyKey = None
) -> Response:
    """Check everything, reserve the worst case in every budget, and launch one job: the same request again, whoever sends it how often,
    finds that job. It is followed by a run of `train-model`, or without Prefect by the sweeps."""
    desk = desk_of(office, caller)
    keys = office.desk.catalogue.idempotency_keys
    try:
        answered = answer_once(keys, caller.user_id, idempotency_key, asked, lambda: deploy(office, desk, asked))
    except (TrainingRefusedError, OverBudgetError) as error:
        return refused(desk, asked, error, request.scope)
    headers = {REPLAYED_HEADER: "true"} if answered.was_kept else {}
    if made := json.loads(answered.answer.body).get("deployment_id"):
        headers["Location"] = f"{PATH}/{made}"
    return Response(answered.answer.body, answered.answer.status, headers, "application/json")


@router.get("", summary="The caller's trainings, or one of them", responses=_MISSING)
def trainings(
    *,
    caller: Asking,
    office: AtOffice,
    deployment_id: Annotated[
        str | None,
        Query(min_length=1, max_length=63, pattern=_NO_NUL, description="Of this one alone, as it stands at AWS now."),
    ] = None,
    status: Annotated[Status | None, Query(description="Those in this state alone.")] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 50,
    cursor: Annotated[str | None, Query(max_length=500, description="The cursor of the page before.")] = None,
    log_lines: Lines = 100,
) -> TrainingDeployment | TrainingList:
    """Newest first, as their rows have them. With `deployment_id` one, asked of AWS."""
    if deployment_id is not None:
        return _looked_at(office, desk_of(office, caller), _found(office, caller, deployment_id), log_lines)
    page = office.desk.deployments.page(caller.user_id, status=status, limit=limit, cursor=cursor)
    ledger = office.desk.ledger
    listed = [TrainingDeployment.of(Seen(one, ledger.find(one.deployment_id))) for one in page.deployments]
    return TrainingList(deployments=listed, cursor=page.next_cursor)


@router.get("/{deployment_id}", summary="One training as it stands now", responses=_MISSING)
def training(deployment_id: Which, caller: Asking, office: AtOffice, log_lines: Lines = 100) -> TrainingDeployment:
    """Asked of AWS, its row and the books brought to that; as it stood last where AWS cannot be asked, and `notes` says so."""
    return _looked_at(office, desk_of(office, caller), _found(office, caller, deployment_id), log_lines)


_STOPPED: _Responses = {
    202: {"model": TrainingDeployment, "description": "It is told to stop. The same again changes nothing."},
    200: {"model": TrainingDeployment, "description": "It had ended already; this is how."},
    **_MISSING,
}


@router.delete("", summary="Stop a training", status_code=202, response_model=TrainingDeployment, responses=_STOPPED)
def stop(
    deployment_id: Annotated[
        str, Query(min_length=1, max_length=63, pattern=_NO_NUL, description="Of the one to stop.")
    ],
    caller: Asking,
    office: AtOffice,
    reason: Why = "stopped over the HTTP API",
) -> Response:
    """As the address with the id in its path."""
    return _stopped(office, desk_of(office, caller), _found(office, caller, deployment_id), caller, reason)


@router.delete(
    "/{deployment_id}",
    summary="Stop one training",
    status_code=202,
    response_model=TrainingDeployment,
    responses=_STOPPED,
)
def stop_one(
    deployment_id: Which, caller: Asking, office: AtOffice, reason: Why = "stopped over the HTTP API"
) -> Response:
    """The wish is kept before AWS is told: whatever becomes of this request, the sweeps stop the job, or it is never launched."""
    return _stopped(office, desk_of(office, caller), _found(office, caller, deployment_id), caller, reason)


def _found(office: Office, caller: Caller, which: str) -> Deployment:
    """Raises TrainingMissingError, also of another user's."""
    try:
        found = office.desk.deployments.get(UUID(which), caller.user_id)
    except ValueError:
        found = office.desk.deployments.find(which, caller.user_id)
    if found is None:
        raise TrainingMissingError(f"You have no training {which!r}. GET {PATH} lists those you have.")
    return found


def _seen(desk: Desk, row: Deployment) -> Seen:
    """Asked of AWS where it is of our region and account; the sweeps look after the others."""
    if not is_here(desk, row.job.arn):
        return Seen(row, desk.ledger.find(row.deployment_id), problem="it is in another region or account.")
    return see(desk, row, with_left=False)


def _looked_at(office: Office, desk: Desk, row: Deployment, log_lines: int) -> TrainingDeployment:
    seen, notes = _seen(desk, row), list[str]()
    lines = (seen.deployment.logs or "").splitlines()
    if log_lines and not (seen.has_ended and lines) and seen.description:
        try:
            lines = [line.text for line in last_lines(desk.client("logs"), row.deployment_id, most=log_lines)]
        except (ClientError, BotoCoreError) as error:
            notes.append(f"Its log cannot be read now: {error}")
    run, no_run = _run(office, seen.deployment)
    return TrainingDeployment.of(seen, run=run, logs=lines[-log_lines:] if log_lines else [], notes=[*notes, *no_run])


def _run(office: Office, row: Deployment) -> tuple[StartedRun | None, list[str]]:
    """The newest run that follows it, or why that is not known."""
    if not row.job.runs:
        return None, []
    try:
        return office.runs.find(row.job.runs[-1]), []
    except FlowRunsUnavailableError as error:
        return None, [f"Its flow run cannot be looked up now: {error}"]


def _stopped(office: Office, desk: Desk, row: Deployment, caller: Caller, reason: str) -> JSONResponse:
    seen, notes = _seen(desk, row), list[str]()
    if seen.has_ended:
        status = 200
    else:
        row = desk.deployments.ask_stop(row.id, by=f"user {caller.user_id}", why=reason)
        notes += _told(desk, row)
        seen, status = _seen(desk, row), 202
    run, no_run = _run(office, seen.deployment)
    said = TrainingDeployment.of(seen, run=run, notes=[*notes, *no_run])
    return JSONResponse(said.model_dump(mode="json"), status)


def _told(desk: Desk, row: Deployment) -> list[str]:
    """AWS told to stop the job; or why it is the sweeps that tell it."""
    if not is_here(desk, row.job.arn):
        return ["It is in another region or account, where the sweeps stop it."]
    try:
        stop_training(desk.client("sagemaker"), row.deployment_id, ask_seconds=ASK_SECONDS)
    except (ClientError, BotoCoreError, WaitTimedOutError) as error:
        if not (is_passing(error) or isinstance(error, WaitTimedOutError)):
            raise
        return [f"AWS did not take it yet; the sweeps go on telling it: {error}"]
    return []
