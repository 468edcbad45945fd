"""Flow runs that whoever asks has started over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path

from trainmaster.errors import FlowRunMissingError
from trainmaster.http_api.answers import ErrorAnswer
from trainmaster.http_api.callers import Asking
from trainmaster.http_api.office import AtOffice
from trainmaster.http_api.run_models import RunAnswer

router = APIRouter(prefix="/api/runs", tags=["runs"])


@router.get(
    "/{run_id}",
    summary="Show a run",
    response_description="As it stands now.",
    responses={404: {"model": ErrorAnswer, "description": "The caller has started no such run."}},
)
def run(run_id: Annotated[UUID, Path(description="Of the run.")], caller: Asking, office: AtOffice) -> RunAnswer:
    """How a run stands that the caller has started here: another's, or one started elsewhere, is as if it were not there."""
    found = office.runs.find(str(run_id))
    if found is None or not found.once.startswith(str(caller.user_id)):
        raise FlowRunMissingError(f"There is no run {run_id} of user {caller.user_id}.")
    return RunAnswer.of(found)
