"""Errors as HTTP answers: one place says which error is which status."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict
from typing import Annotated, Any

from botocore.exceptions import BotoCoreError, ClientError
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainmaster.aws.failures import code_of, is_passing
from trainmaster.datasets.problems import Problem
from trainmaster.errors import (
    CatalogueUnavailableError,
    DatasetMissingError,
    DatasetRefusedError,
    FlowRunMissingError,
    FlowRunsUnavailableError,
    KeyReusedError,
    LeaseLostError,
    NameConflictError,
    NoCapacityError,
    NoRoomError,
    NotConfiguredError,
    ObjectMissingError,
    OverBudgetError,
    PolicyRefusedError,
    RefusedError,
    SigningKeysUnavailableError,
    StorageUnavailableError,
    TooManyRequestsError,
    TrainingMissingError,
    TrainingRefusedError,
    TrainmasterError,
    UnauthenticatedError,
    UploadsBusyError,
    UploadTooLargeError,
    UploadUnderWayError,
    WorkspaceBusyError,
    WorkspaceMissingError,
)
from trainmaster.http_api.wrong_requests import problems_of_request
from trainmaster.workspaces.policy.rules import Violation

RETRY_AFTER_SECONDS = 10
STATUSES: dict[type[TrainmasterError], int] = {
    UnauthenticatedError: 401,
    OverBudgetError: 402,
    PolicyRefusedError: 403,
    DatasetMissingError: 404,
    ObjectMissingError: 404,
    WorkspaceMissingError: 404,
    TrainingMissingError: 404,
    FlowRunMissingError: 404,
    UploadTooLargeError: 413,
    NameConflictError: 409,
    KeyReusedError: 409,
    UploadUnderWayError: 409,
    WorkspaceBusyError: 409,
    TooManyRequestsError: 429,
    NotConfiguredError: 500,
    RefusedError: 400,
    NoRoomError: 507,
    NoCapacityError: 503,
    StorageUnavailableError: 503,
    UploadsBusyError: 503,
    LeaseLostError: 503,
    CatalogueUnavailableError: 503,
    FlowRunsUnavailableError: 503,
    SigningKeysUnavailableError: 503,
    TrainmasterError: 500,
}
"""The first that an error is one of."""


_log = logging.getLogger(__name__)
_OF_THE_SERVER = (
    "The server lacks a setting or a right that this needs. Tell its operators the request_id; the log has the rest."
)


class ProblemAnswer(BaseModel):
    """One thing that is wrong with a request."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": True})

    kind: Annotated[str, Field(description="What it is about, in a word.", examples=["quota"])]
    message: Annotated[str, Field(description="What is wrong, with its numbers.", examples=["name is too long."])]
    remedy: Annotated[str, Field(description="What to do about it.", examples=["Use at most 63 characters."])] = ""
    field: Annotated[str, Field(description="Where in the request; empty where it is not one field.")] = ""


class ErrorAnswer(BaseModel):
    """Every error is answered so."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": True})

    error: Annotated[str, Field(description="The kind, the same for every one of it.", examples=["OverBudget"])]
    message: Annotated[str, Field(description="For people: subject, numbers and next step.")]
    request_id: Annotated[str, Field(description="By which operators find it in the log.", examples=["7c2f0a"])]
    problems: Annotated[list[ProblemAnswer], Field(description="All that is wrong, where it is several things.")] = []


def refusal(
    kind: str,
    message: str,
    status: int,
    scope: MutableMapping[str, Any],
    *,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    """An error as it is answered, with the id of its request; what else is said of it is `more`."""
    request_id = scope.get("state", {}).get("request_id", "")
    problems = [{"field": "", "remedy": "", **one} for one in more.pop("problems", ())]
    said = {"error": kind, "message": message, "request_id": request_id, "problems": problems, **more}
    return JSONResponse(said, status, dict(headers or {}))


def answer_of(error: TrainmasterError, scope: MutableMapping[str, Any]) -> JSONResponse:
    """With the status of its kind, and all its problems."""
    status = next(code for kind, code in STATUSES.items() if isinstance(error, kind))
    if status == 500:
        _log.error("%s", error, exc_info=error)
    said = _OF_THE_SERVER if isinstance(error, NotConfiguredError) else str(error)
    return refusal(
        type(error).__name__.removesuffix("Error"),
        said,
        status,
        scope,
        headers=_headers(error, status),
        **_more(error),
    )


def _headers(error: TrainmasterError, status: int) -> dict[str, str]:
    if isinstance(error, TooManyRequestsError):
        return {"Retry-After": str(error.seconds)}
    if status == 503:
        return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return {"WWW-Authenticate": "Bearer"} if status == 401 else {}


def _more(error: TrainmasterError) -> dict[str, Any]:
    if isinstance(error, TrainingRefusedError):
        return {
            "problems": [{"kind": one.kind, "message": one.message, "remedy": one.remedy} for one in error.problems]
        }
    if isinstance(error, PolicyRefusedError):
        return {"problems": [_violation(one) for one in error.violations]}
    if isinstance(error, DatasetRefusedError) and error.problems:
        return {"problems": [_fault(one) for one in error.problems]}
    if isinstance(error, OverBudgetError):
        return {"approved": str(error.approved), "choices": list(error.choices)}
    return {}


def _violation(violation: Violation) -> dict[str, str]:
    """`nearest` is what is most like it among what the policy gives; empty where there is nothing."""
    return {
        "kind": "policy",
        "message": violation.sentence(),
        "remedy": violation.remedy,
        "rule": violation.rule,
        "nearest": violation.nearest,
    }


def _fault(problem: Problem) -> dict[str, Any]:
    """Of a dataset: where it stands, and what is there."""
    return {**asdict(problem), "kind": str(problem.kind), "message": str(problem)}


def answer_errors(app: FastAPI) -> None:
    """Every error that is raised while a request is answered, as an ErrorAnswer with its status."""

    @app.exception_handler(TrainmasterError)
    def _ours(request: Request, error: TrainmasterError) -> JSONResponse:
        return answer_of(error, request.scope)

    @app.exception_handler(RequestValidationError)
    def _malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = problems_of_request(error.errors(), request.scope.get("route"))
        said = " ".join(filter(None, (said for one in problems for said in (one["message"], one["remedy"]))))
        return refusal("BadRequest", f"The request is not understood. {said}", 400, request.scope, problems=problems)

    @app.exception_handler(HTTPException)
    def _of_http(request: Request, error: HTTPException) -> JSONResponse:
        kind = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, "BadRequest")
        message = {
            404: "There is nothing at this address. /docs shows what there is.",
            405: f"{request.method} is not for this address. /docs shows what there is.",
        }.get(error.status_code, str(error.detail))
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = _methods(request) or headers.get("Allow", "")
        return refusal(kind, message, error.status_code, request.scope, headers=headers)

    @app.exception_handler(ClientError)
    @app.exception_handler(BotoCoreError)
    def _of_aws(request: Request, error: Exception) -> JSONResponse:
        _log.error("AWS: %s", error, exc_info=error)
        if is_passing(error):
            said = "AWS is out of reach, or busy. The same request may do later."
            retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            return refusal("AwsUnavailable", said, 503, request.scope, headers=retry)
        said = (
            f"AWS refused what the server asked of it ({code_of(error) or type(error).__name__}). Tell its operators."
        )
        return refusal("AwsRefused", said, 502, request.scope)


def _methods(request: Request) -> str:
    """All that the address is for: each is a route of its own, of which one was asked."""
    path = getattr(request.scope.get("route"), "path", "")
    return ", ".join(sorted(method.upper() for method in request.app.openapi()["paths"].get(path, {})))


class Failures:
    """What nobody foresaw is answered as an error too, and written down."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception as error:  # the connection is ended by who called us where an answer has begun
            if begun or scope["type"] != "http":
                raise
            _log.error("unexpected %s", type(error).__name__, exc_info=error)
            said = "Something went wrong that nobody foresaw. Tell the operators the request_id; the log has the rest."
            await refusal("Unexpected", said, 500, scope)(scope, receive, send)
