"""The API as OpenAPI describes it: with every status that is answered, so that clients can be made from it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from trainmaster.http_api.answers import ErrorAnswer, ProblemAnswer

ABOUT = """\
What the web application asks: training within budget, datasets, workspaces. Whoever asks is the user of the token; what is
another user's is answered as what is not there. Errors have one shape, whatever they are."""
_ALWAYS = {
    "400": "The request is not understood, or refused; `problems` has all that is wrong.",
    "429": "Asked more often than allowed; `Retry-After` says when to ask again.",
    "500": "Something went wrong that nobody foresaw.",
    "502": "AWS refused what the server asked of it.",
    "503": "Something the server needs does not answer; `Retry-After` says when to ask again.",
}
_WITH_TOKEN = {"401": "There is no valid token."}
_WITH_BODY = {"408": "The body did not come in time.", "413": "The body is larger than a request may bring."}
_NO_ERRORS = {"/healthz", "/readyz", "/metrics"}


def describe(app: FastAPI) -> None:
    """Let the application describe itself so; made once, when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _described(app: FastAPI) -> dict[str, Any]:
    described = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    _, errors = models_json_schema(
        [(ErrorAnswer, "serialization"), (ProblemAnswer, "serialization")], ref_template="#/components/schemas/{model}"
    )
    schemas |= errors["$defs"]
    for path, operations in described["paths"].items():
        for operation in operations.values():
            _complete(operation, path)
    return described


def _complete(operation: dict[str, Any], path: str) -> None:
    """Add what is answered whoever asks what; what a route says of itself stands."""
    answers = operation["responses"]
    answers.pop("422", None)
    if path in _NO_ERRORS:
        answers.setdefault("500", _answer(_ALWAYS["500"]))
        return
    common = {
        **_ALWAYS,
        **(_WITH_TOKEN if "security" in operation else {}),
        **(_WITH_BODY if "requestBody" in operation else {}),
    }
    for status, said in common.items():
        answers.setdefault(status, _answer(said))


def _answer(said: str) -> dict[str, Any]:
    return {
        "description": said,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}},
    }
