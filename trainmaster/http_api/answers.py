"""Errors as HTTP answers: one place says which error is which status."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from trainmaster.errors import (
    CatalogueUnavailableError,
    DatasetMissingError,
    FlowRunsUnavailableError,
    NameConflictError,
    OverBudgetError,
    PolicyRefusedError,
    RefusedError,
    StorageUnavailableError,
    TrainmasterError,
    UnauthenticatedError,
    UploadUnderWayError,
)

RETRY_AFTER_SECONDS = 10
STATUSES: dict[type[TrainmasterError], int] = {
    UnauthenticatedError: 401,
    OverBudgetError: 402,
    PolicyRefusedError: 403,
    DatasetMissingError: 404,
    NameConflictError: 409,
    UploadUnderWayError: 409,
    RefusedError: 400,
    StorageUnavailableError: 503,
    CatalogueUnavailableError: 503,
    FlowRunsUnavailableError: 503,
    TrainmasterError: 500,
}
"""The first that an error is one of."""


def answer_errors(app: FastAPI) -> None:
    """Every error of Trainmaster as `{"error": kind, "message": …}` with its status."""

    @app.exception_handler(TrainmasterError)
    def _answer(_request: Request, error: TrainmasterError) -> JSONResponse:
        status = next(code for kind, code in STATUSES.items() if isinstance(error, kind))
        body: dict[str, Any] = {"error": type(error).__name__.removesuffix("Error"), "message": str(error)}
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else {}
        return JSONResponse(body, status, headers)
