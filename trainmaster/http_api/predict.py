"""`POST /predict`: a house in, a price out, by a model in service; as the published API answers it, for callers with a session."""

from __future__ import annotations

from functools import cache, partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from trainmaster.aws.clients import impatient_client
from trainmaster.endpoints.api.predicting import Predictions, published_code
from trainmaster.errors import ModelRefusedError
from trainmaster.http_api.answers import ErrorAnswer, refusal
from trainmaster.http_api.callers import Asking
from trainmaster.http_api.office import AtOffice, Office

router = APIRouter(tags=["predictions"])
_HOUSE = {"bedrooms": 3, "bathrooms": 2, "sqft": 1800, "year_built": 1998}
_HOUSE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "House",
    "description": "What the model in service accepts of each, a refusal says.",
    "additionalProperties": {"type": "number"},
    "required": list(_HOUSE),
    "properties": {
        "bedrooms": {"type": "number", "description": "How many."},
        "bathrooms": {"type": "number", "description": "How many; halves count."},
        "sqft": {"type": "number", "description": "Square feet."},
        "year_built": {"type": "number", "description": "The year."},
    },
}


class Prediction(BaseModel):
    """The model's answer."""

    model_config = ConfigDict(protected_namespaces=())

    predicted_price: Annotated[float, Field(description="US dollars.", examples=[412500.0])]
    model_version: Annotated[str, Field(examples=["v1"])]
    timestamp: Annotated[str, Field(examples=["2026-11-22T09:00:00.000Z"])]


async def _body(request: Request) -> bytes:
    return await request.body()


def predictions_of(office: Office) -> Predictions:
    """By the models in service where the office is."""
    return Predictions(
        office.desk.client, cache(partial(impatient_client, "sagemaker-runtime", office.settings.region))
    )


def _answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    said = {
        400: "The house is refused; `problems` has every field that is wrong, with what is accepted.",
        404: "No such model is in service here.",
        413: "The body is larger than a house.",
        415: "The body is not JSON.",
        429: "The model, or the caller, has too much to do; `Retry-After` says when to ask again.",
        504: "The model did not answer in time.",
    }
    return {status: {"model": ErrorAnswer, "description": said[status]} for status in statuses}


@router.post(
    "/predict",
    summary="What a house is worth",
    response_model=Prediction,
    responses=_answers(400, 404, 413, 415, 429, 504),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _HOUSE_SCHEMA,
                    "examples": {"house": {"value": _HOUSE}},
                }
            },
        }
    },
)
def predict(
    request: Request,
    caller: Asking,  # noqa: ARG001 - nobody else may ask
    office: AtOffice,
    body: Annotated[bytes, Depends(_body)],
    endpoint: Annotated[
        str,
        Query(max_length=63, description="One of those in TRAINMASTER_HTTP_PREDICT_ENDPOINTS; the first without it."),
    ] = "",
) -> Response:
    """Each feature is checked against what the model in service accepts, as the published API checks it."""
    offered = [one for one in office.settings.http_predict_endpoints.split(",") if one]
    chosen = endpoint or next(iter(offered), "")
    if chosen not in offered:
        return refusal("NotFound", "There is no such model in service here.", 404, request.scope)
    try:
        price = request.app.state.predictions.price(chosen, body, request.headers.get("content-type", ""))
    except ModelRefusedError as error:
        return refusal("ModelFailed", f"What the model in service accepts is not known. {error}", 502, request.scope)
    except published_code().RefusedError as error:
        headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        problems = [_problem(one) for one in error.fields]
        kind = error.outcome.title().replace("_", "")
        return refusal(kind, error.sentence, error.status, request.scope, headers=headers, problems=problems)
    return Response(
        Prediction.model_validate(price).model_dump_json(), 200, {"Cache-Control": "no-store"}, "application/json"
    )


def _problem(field: dict[str, Any]) -> dict[str, Any]:
    accepted = {"accepted": field["accepted"]} if "accepted" in field else {}
    message = f"{field.get('field', '')} {field.get('problem', '')}.".strip()
    return {"kind": "request", "field": str(field.get("field", "")), "message": message, "remedy": "", **accepted}
