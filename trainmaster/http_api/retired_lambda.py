"""What the web application called before: Lambda Labs, which is gone, and what takes its place."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from trainmaster.budget.equivalents import Equivalent, equivalents
from trainmaster.budget.prices import PriceList
from trainmaster.errors import UnknownPriceError
from trainmaster.http_api.answers import ErrorAnswer, refusal
from trainmaster.http_api.office import AtOffice
from trainmaster.http_api.training import PATH as SAGEMAKER

PATH = "/api/training/deploy/lambda"
_NAMES = ("instance_type", "instance_type_name", "gpu_type", "lambda_instance_type")
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_MOST_BYTES = 64 * 1024
router = APIRouter(tags=["retired"])


class EquivalentInstance(BaseModel):
    """An instance of Lambda's, and SageMaker's for the same work; prices an hour in US dollars, null where nobody knows one."""

    lambda_instance_type: Annotated[str, Field(examples=["gpu_1x_a10"])]
    lambda_usd_per_hour: Annotated[str, Field(examples=["0.75"])]
    sagemaker_instance_type: Annotated[str, Field(examples=["ml.g5.xlarge"])]
    sagemaker_usd_per_hour: Annotated[str | None, Field(examples=["1.408"])]
    note: str


class MigrationGuide(BaseModel):
    """What to ask instead. `equivalent` is of the instance type that was asked for, where it was one of Lambda's; `all` are all."""

    endpoint: Annotated[str, Field(examples=[f"POST {SAGEMAKER}"])]
    equivalent: EquivalentInstance | None
    steps: list[str]
    all: list[EquivalentInstance]


class GoneAnswer(ErrorAnswer):
    """Lambda Labs is retired; what takes its place."""

    migration_guide: MigrationGuide


async def _asked_for(request: Request) -> str:
    """The instance type somebody asks for, in the query or in a body of JSON or of a form; "" where there is none to be read."""
    named = dict(request.query_params)
    try:
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_BYTES:
                break
        named |= _fields(body[:_MOST_BYTES], request.headers.get("content-type", ""))
    except ClientDisconnect:
        return ""
    return next((str(named[name]) for name in _NAMES if named.get(name)), "")


def _fields(body: bytes, kind: str) -> dict[str, Any]:
    try:
        text = body.decode()
        if kind.startswith("application/x-www-form-urlencoded"):
            return dict(parse_qsl(text))
        said = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def gone(request: Request, office: AtOffice, asked_for: Annotated[str, Depends(_asked_for)]) -> JSONResponse:
    """Whatever is asked, and whoever asks it: nothing is done."""
    prices, region = office.desk.prices, office.desk.settings.region
    found = equivalents().get(asked_for.strip().lower())
    guide = MigrationGuide(
        endpoint=f"POST {SAGEMAKER}",
        equivalent=_instance(found, prices, region) if found else None,
        steps=_steps(found),
        all=[_instance(one, prices, region) for one in equivalents().values()],
    )
    message = (
        f"Nothing is trained at Lambda Labs any more. {_sentence(found, prices, region)}"
        f"Send the request to POST {SAGEMAKER} instead."
    )
    return refusal("Gone", message, 410, request.scope, migration_guide=guide.model_dump(mode="json"))


for _method in _METHODS:
    router.add_api_route(
        PATH,
        gone,
        methods=[_method],
        operation_id=f"lambda_{_method.lower()}",
        status_code=410,
        summary="Gone: train on SageMaker",
        response_model=GoneAnswer,
        response_description="Lambda Labs is retired; the guide says what to ask instead.",
    )
    router.add_api_route(f"{PATH}/{{rest:path}}", gone, methods=[_method], status_code=410, include_in_schema=False)


def _steps(found: Equivalent | None) -> list[str]:
    instance = found.sagemaker_type if found else "the SageMaker type beside Lambda's in `all`"
    return [
        f"Send POST {SAGEMAKER} with the same training_config_id and budget_limit, and instance_type {instance}.",
        "Datasets have to be in S3: set migrate_missing, or copy those that the answer names in non_s3_datasets.",
        f"Ask GET {SAGEMAKER}/{{deployment_id}} for its state, log and cost; DELETE stops it.",
    ]


def _sentence(found: Equivalent | None, prices: PriceList, region: str) -> str:
    if found is None:
        return ""
    try:
        return f"{found.sentence(prices, region)} "
    except UnknownPriceError:
        return f"{found.lambda_type} is {found.sagemaker_type} at SageMaker. "


def _instance(one: Equivalent, prices: PriceList, region: str) -> EquivalentInstance:
    try:
        usd = str(prices.instance(one.sagemaker_type, "training", region).usd)
    except UnknownPriceError:
        usd = None
    return EquivalentInstance(
        lambda_instance_type=one.lambda_type,
        lambda_usd_per_hour=str(one.usd),
        sagemaker_instance_type=one.sagemaker_type,
        sagemaker_usd_per_hour=usd,
        note=one.note,
    )
