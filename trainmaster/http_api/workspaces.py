"""Workspaces of whoever asks: opened, started, stopped and deleted by runs of the same deployments as in the UI."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from trainmaster.aws.clients import Clients, hurried_clients
from trainmaster.errors import (
    FlowRunsUnavailableError,
    NameConflictError,
    UnknownPriceError,
    WorkspaceBusyError,
    WorkspaceMissingError,
)
from trainmaster.http_api.answers import ErrorAnswer
from trainmaster.http_api.callers import Asking, Caller
from trainmaster.http_api.office import AtOffice, Office, StartedRun
from trainmaster.http_api.run_models import RunAnswer
from trainmaster.http_api.workspace_models import (
    AccessAnswer,
    ChangeAnswer,
    FoundAnswer,
    OpenForm,
    StartForm,
    TemplateAnswer,
    TemplatesAnswer,
    WorkspaceAnswer,
    WorkspacesAnswer,
)
from trainmaster.http_api.workspace_runs import WorkspaceRuns
from trainmaster.training.desk import Desk
from trainmaster.workspaces.closing import close_workspace
from trainmaster.workspaces.opening import planned
from trainmaster.workspaces.rates import rates_of
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest, WorkspaceName
from trainmaster.workspaces.seeing import require_here, require_there
from trainmaster.workspaces.services import kind_of
from trainmaster.workspaces.standing import WorkspaceStanding, standings_of
from trainmaster.workspaces.templates.loading import read_templates
from trainmaster.workspaces.templates.template import Template
from trainmaster.workspaces.workspace import Workspace

router = APIRouter(prefix="/api/workspaces", tags=["workspaces"])
_log = logging.getLogger(__name__)

Name = Annotated[WorkspaceName, Path()]
DryRun = Annotated[bool, Query(description="Only say what would be done.")]
_TEMPLATES = "templates"
"""What no workspace may be called: its address is taken."""


def _answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    said = {
        402: "A budget does not pay for its first hours.",
        403: "The policy does not give it; `problems` has every rule, with the nearest choice.",
        404: "The caller has no such workspace.",
        409: "Something else is under way with it, or it is in no state for this.",
    }
    return {status: {"model": ErrorAnswer, "description": said[status]} for status in statuses}


def _done(said: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": ChangeAnswer, "description": said}}


@router.get("", summary="List workspaces", response_description="All of them.")
def workspaces(caller: Asking, office: AtOffice) -> WorkspacesAnswer:
    """The caller's, of all services and regions, as AWS says they stand now."""
    rows = office.desk.catalogue.workspaces.of(caller.user_id)
    return WorkspacesAnswer(workspaces=[WorkspaceAnswer.of(one) for one in _standings(office, *rows)])


@router.post(
    "",
    status_code=202,
    summary="Open a workspace",
    response_description="A run opens it.",
    responses=_done("It runs already, or this was a dry run.") | _answers(402, 403, 409),
)
def open_workspace(form: OpenForm, caller: Asking, office: AtOffice, response: Response) -> ChangeAnswer:
    """Refused at once by policy and budget, else opened by a run; the same again finds the run, and after it the workspace."""
    if form.name == _TEMPLATES:
        raise NameConflictError(
            f"No workspace can be called {_TEMPLATES}: that is where they are listed. Choose another name."
        )
    return _open(office, caller, form.request(caller), response, dry_run=form.dry_run)


@router.get("/templates", summary="List templates", response_description="Those that can be used.")
def templates(_caller: Asking, office: AtOffice) -> TemplatesAnswer:
    """What workspaces can be opened from, with what an hour costs here."""
    found = read_templates(office.settings.workspace_templates)
    for problem in found.all_problems:
        _log.warning("A template cannot be used: %s", problem.sentence())
    return TemplatesAnswer(templates=[TemplateAnswer.of(one, _hourly(office, one)) for one in found.templates.values()])


@router.get(
    "/{name}", summary="Show a workspace", response_description="It, its run, or both.", responses=_answers(404)
)
def workspace(name: Name, caller: Asking, office: AtOffice) -> FoundAnswer:
    """As AWS says it stands now, and the run about it; of one that is asked for and not begun, the run alone."""
    row = office.desk.catalogue.workspaces.find(caller.user_id, name)
    runs = WorkspaceRuns(office.runs, caller.user_id, name)
    if row and row.status != "deleted":
        run = _told(runs)
        return FoundAnswer(workspace=WorkspaceAnswer.of(_standing(office, row)), run=RunAnswer.of(run) if run else None)
    if opening := runs.opening():
        return FoundAnswer(workspace=None, run=RunAnswer.of(opening))
    raise _missing(name)


@router.post(
    "/{name}/start",
    status_code=202,
    summary="Start a workspace",
    response_description="A run starts it.",
    responses=_done("It runs already.") | _answers(402, 403, 404, 409),
)
def start(
    name: Name, caller: Asking, office: AtOffice, response: Response, form: StartForm | None = None
) -> ChangeAnswer:
    """One that was stopped, with its files; on another instance type if one is named."""
    row = _found(office, caller, name)
    asked = OpenWorkspaceRequest(
        template=row.template,
        name=row.name,
        instance_type=form.instance_type if form else "",
        user_id=str(caller.user_id),
        team=row.team,
    )
    return _open(office, caller, asked, response)


@router.post(
    "/{name}/stop",
    status_code=202,
    summary="Stop a workspace",
    response_description="A run stops it.",
    responses=_done("It is stopped already.") | _answers(404, 409),
)
def stop(name: Name, caller: Asking, office: AtOffice, response: Response) -> ChangeAnswer:
    """Its machine is taken away, its files are kept."""
    asked = CloseWorkspaceRequest(name=name, action="stop", user_id=str(caller.user_id), dry_run=False)
    standing, answer = _closing(office, caller, asked)
    if not answer.steps and standing.seen.status in ("stopped", "pending", "missing"):
        response.status_code = 200
        return answer
    return answer.model_copy(update={"run": _close(office, caller, asked)})


@router.post(
    "/{name}/connect", summary="Get into a workspace", response_description="The way in.", responses=_answers(404, 409)
)
def connect(name: Name, caller: Asking, office: AtOffice, response: Response) -> AccessAnswer:
    """The address or the command. An address of Studio lets anybody in for some minutes: keep it out of logs and caches."""
    response.headers["Cache-Control"] = "no-store"
    row = _found(office, caller, name)
    with _desk_of(office, row) as desk:
        require_here(desk, row)
        seen = _standing(office, row).seen
        require_there(row, seen)
        if seen.status != "running":
            raise WorkspaceBusyError(
                f"Workspace {name} is {seen.status}. Start it first: POST /api/workspaces/{name}/start"
            )
        return AccessAnswer.of(kind_of(row.service_type).access(desk, row))


@router.delete(
    "/{name}",
    status_code=202,
    summary="Delete a workspace",
    response_description="A run deletes it.",
    responses=_done("This was a dry run.") | _answers(404, 409),
)
def delete(name: Name, caller: Asking, office: AtOffice, response: Response, dry_run: DryRun = False) -> ChangeAnswer:
    """With all files in it, by a run."""
    asked = CloseWorkspaceRequest(name=name, action="delete", user_id=str(caller.user_id), dry_run=False)
    _, answer = _closing(office, caller, asked)
    if dry_run:
        response.status_code = 200
        return answer
    return answer.model_copy(update={"run": _close(office, caller, asked)})


def _open(
    office: Office, caller: Caller, asked: OpenWorkspaceRequest, response: Response, *, dry_run: bool = False
) -> ChangeAnswer:
    plan = planned(office.desk, asked)
    if not dry_run and plan.refusal:
        raise plan.refusal
    if dry_run or not plan.steps:
        response.status_code = 200
        return ChangeAnswer.of_plan(plan, None)
    run = WorkspaceRuns(office.runs, caller.user_id, asked.name).open(asked)
    return ChangeAnswer.of_plan(plan, RunAnswer.of(run))


def _closing(office: Office, caller: Caller, asked: CloseWorkspaceRequest) -> tuple[WorkspaceStanding, ChangeAnswer]:
    """How it stands, and what closing it would do."""
    row = _found(office, caller, asked.name)
    with _desk_of(office, row) as desk:
        would = close_workspace(desk, asked.model_copy(update={"dry_run": True}))
    standing = _standing(office, row)
    return standing, ChangeAnswer.closing(standing, would.steps, None)


def _close(office: Office, caller: Caller, asked: CloseWorkspaceRequest) -> RunAnswer:
    return RunAnswer.of(WorkspaceRuns(office.runs, caller.user_id, asked.name).close(asked))


def _found(office: Office, caller: Caller, name: str) -> Workspace:
    """Raises WorkspaceBusyError for one that was asked for and is not begun, WorkspaceMissingError."""
    row = office.desk.catalogue.workspaces.find(caller.user_id, name)
    if row and row.status != "deleted":
        return row
    run = _told(WorkspaceRuns(office.runs, caller.user_id, name))
    if run and not run.ended:
        raise WorkspaceBusyError(
            f"Workspace {name} is not there yet: run {run.name} ({run.state}) is about it. Ask again when that has begun."
        )
    raise _missing(name)


def _missing(name: str) -> WorkspaceMissingError:
    return WorkspaceMissingError(f"There is no workspace {name}. GET /api/workspaces lists yours.")


def _standing(office: Office, row: Workspace) -> WorkspaceStanding:
    [standing] = _standings(office, row)
    return standing


def _standings(office: Office, *rows: Workspace) -> list[WorkspaceStanding]:
    return standings_of(office.desk, rows, lambda region: _desk_in(office, region))


@contextmanager
def _desk_in(office: Office, region: str) -> Iterator[Desk]:
    """With the same catalogue and books, in another region."""
    settings = office.settings.model_copy(update={"region": region})
    yield replace(office.desk, settings=settings, client=Clients(hurried_clients(region)))


@contextmanager
def _desk_of(office: Office, row: Workspace) -> Iterator[Desk]:
    if row.region == office.desk.settings.region:
        yield office.desk
        return
    with _desk_in(office, row.region) as desk:
        yield desk


def _told(runs: WorkspaceRuns) -> StartedRun | None:
    """What Prefect knows matters less than the workspace: without it that is shown all the same."""
    try:
        return runs.latest()
    except FlowRunsUnavailableError as error:
        _log.warning("%s", error)
        return None


def _hourly(office: Office, template: Template) -> Decimal | None:
    try:
        return rates_of(office.desk.prices, template, office.settings.region).total
    except UnknownPriceError:
        return None
