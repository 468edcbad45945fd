"""The Lambda function behind `POST /predict`: one house as JSON in, `{"predicted_price", "model_version", "timestamp"}` out.

Every other answer is `{"error": sentence, "fields": […], "request_id": …}` with the status that says whose doing it is. One line of
JSON goes to the log for each request: what was answered and how long it took, never what was asked.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

LARGEST_BODY = 16 * 1024
"""Bytes; a house takes about a hundred."""
CONNECT_SECONDS, ANSWER_SECONDS = 2, 20
"""Together less than the function's own timeout, which is less than API Gateway's 29 s."""
SHOWN_CHARACTERS = 40
JSON = "application/json"
SCHEMA = Path(__file__).with_name("schema.json")

UNAVAILABLE = {"ServiceUnavailable", "ServiceUnavailableException", "ModelNotReadyException", "InternalFailure",
               "InternalServerError", "InternalDependencyException"}  # fmt: skip
THROTTLED = {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"}


@dataclass
class RefusedError(Exception):
    """Raised when a request is answered by anything but a price; `outcome` is what the log calls it."""

    status: int
    outcome: str
    sentence: str
    fields: list[dict[str, Any]] = field(default_factory=list)
    retry_after: int | None = None


class UnclearError(ValueError):
    """Raised when JSON says something twice, or a number that is none."""


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Answer one proxy event of API Gateway. Raises nothing: an unforeseen failure is a 500 that names its request."""
    began = time.perf_counter()
    request_id = (event.get("requestContext") or {}).get("requestId") or context.aws_request_id
    noted: dict[str, Any] = {"request_id": request_id, "lambda_request_id": context.aws_request_id}
    status, content, headers = 200, {}, {}
    try:
        house = checked(read(event), schema())
        content = predicted(house, noted)
        noted["outcome"] = "predicted"
    except RefusedError as refused:
        status, content = refused.status, {"error": refused.sentence, "fields": refused.fields}
        noted |= {"outcome": refused.outcome, "problems": len(refused.fields)}
        if refused.retry_after is not None:
            headers["Retry-After"] = str(refused.retry_after)
    except Exception as error:  # noqa: BLE001 - API Gateway would answer without CORS headers or id, and say nothing
        status, content = 500, {"error": "Something went wrong here, not with the request.", "fields": []}
        noted |= {"outcome": "failed", "error_type": type(error).__name__, "where": where(error)}
    if status != 200:
        content["request_id"] = request_id
    milliseconds = round((time.perf_counter() - began) * 1000, 1)
    level = "INFO" if status < 400 else "WARNING" if status < 500 else "ERROR"
    print(json.dumps({"level": level, "status": status, "milliseconds": milliseconds, **noted}), flush=True)
    return {
        "statusCode": status,
        "headers": {"Content-Type": JSON, "Cache-Control": "no-store", "X-Request-Id": request_id, **cors(), **headers},
        "body": json.dumps(content),
        "isBase64Encoded": False,
    }


def cors() -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": os.environ["ALLOWED_ORIGIN"],
        "Access-Control-Expose-Headers": "X-Request-Id,Retry-After",
    }


@cache
def schema() -> dict[str, tuple[float, float]]:
    """The lowest and highest accepted value of each feature, as they were when the API was published."""
    return {name: (low, high) for name, (low, high) in json.loads(SCHEMA.read_text(encoding="utf-8")).items()}


@cache
def runtime() -> Any:
    config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=ANSWER_SECONDS, retries={"total_max_attempts": 1})
    return boto3.client("sagemaker-runtime", config=config)


def read(event: Mapping[str, Any]) -> Any:
    """The JSON that was sent. Raises RefusedError: 415, 413, 400."""
    sent = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    kind, _, parameters = (sent.get("content-type") or "").partition(";")
    if kind.strip().lower() != JSON or ("charset" in parameters.lower() and "utf-8" not in parameters.lower()):
        raise RefusedError(415, "unsupported_type", f"Send {JSON} in UTF-8, and say so in Content-Type.")
    body = event.get("body") or ""
    try:
        content = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
        if len(content) > LARGEST_BODY:
            raise RefusedError(
                413, "too_large", f"The body has {len(content):,} bytes; at most {LARGEST_BODY:,} are taken."
            )
        text = content.decode().removeprefix("\ufeff")
    except (binascii.Error, UnicodeError):
        raise RefusedError(400, "not_utf8", "The body is not UTF-8.") from None
    if not text.strip():
        raise RefusedError(400, "empty", "The body is empty; a JSON object is wanted.")
    try:
        return json.loads(text, parse_constant=no_number, object_pairs_hook=said_once)
    except UnclearError as error:
        raise RefusedError(400, "not_json", f"{error}.") from None
    except (ValueError, RecursionError):
        raise RefusedError(400, "not_json", "The body is not JSON.") from None


def no_number(literal: str) -> NoReturn:
    raise UnclearError(f"{literal} is not JSON")


def said_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise UnclearError("The body says one name twice")
    return found


def checked(house: Any, accepted: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """The house when each feature is there and within its range. Raises RefusedError (400) with every problem at once."""
    wanted = ", ".join(accepted)
    if not isinstance(house, dict):
        raise RefusedError(400, "invalid", f"One JSON object with {wanted} is wanted.")
    problems = []
    for name, (low, high) in accepted.items():
        rule = f"a number from {figure(low)} to {figure(high)} is wanted"
        if name not in house:
            problems.append({"field": name, "problem": f"is missing; {rule}", "accepted": [low, high]})
        elif not within(house[name], low, high):
            said = shown(house[name])
            problems.append({"field": name, "problem": f"is {said}; {rule}", "accepted": [low, high]})
    problems += [
        {"field": shown(name)[1:-1], "problem": f"is not a feature of this model; it knows {wanted}"}
        for name in list(house)[:20]
        if name not in accepted
    ]
    if problems:
        raise RefusedError(
            400, "invalid", ". ".join(f"{one['field']} {one['problem']}" for one in problems) + ".", problems
        )
    return house


def within(value: Any, low: float, high: float) -> bool:
    """False also for infinities, and for true and false, which Python counts as 1 and 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def predicted(house: Mapping[str, float], noted: dict[str, Any]) -> dict[str, Any]:
    """The model's answer. Raises RefusedError with what its failure means to who asked."""
    endpoint = os.environ["ENDPOINT_NAME"]
    noted["endpoint"] = endpoint
    try:
        answer = runtime().invoke_endpoint(
            EndpointName=endpoint, ContentType=JSON, Accept=JSON, Body=json.dumps(house).encode()
        )
        noted["variant"] = answer.get("InvokedProductionVariant")
        said = answer["Body"].read()
    except ClientError as error:
        noted["aws_error"] = error.response["Error"]["Code"]
        raise refused_by_aws(error) from error
    except ReadTimeoutError as error:
        raise RefusedError(504, "timed_out", f"The model did not answer within {ANSWER_SECONDS} s.") from error
    except (ConnectTimeoutError, EndpointConnectionError) as error:
        raise unavailable("The model cannot be reached") from error
    except BotoCoreError as error:  # the connection was cut, or there are no credentials
        noted["error_type"] = type(error).__name__
        raise RefusedError(502, "no_answer", "The model's answer was lost on its way.") from error
    return price(said)


def refused_by_aws(error: ClientError) -> RefusedError:
    """What an error of InvokeEndpoint means to who asked."""
    code = error.response["Error"]["Code"]
    if code in THROTTLED:
        return RefusedError(429, "throttled", "The model has too much to do; try again in a moment.", retry_after=1)
    if code in UNAVAILABLE:
        return unavailable("The model is not available now")
    if code in ("ValidationError", "ValidationException"):  # nothing else can be wrong with what is sent
        return RefusedError(404, "no_endpoint", "There is no such model in service.")
    if code == "ModelError" and error.response.get("OriginalStatusCode") == 400:
        return refused_by_model(error.response.get("OriginalMessage") or "")
    return RefusedError(502, "model_failed", "The model failed to answer.")


def refused_by_model(message: str) -> RefusedError:
    """The model's own word on what is wrong: it may know more of houses than their ranges."""
    try:
        said = json.loads(message)
        sentence, problems = str(said["error"]), said.get("problems", [])
        fields = [{key: one[key] for key in ("field", "problem", "accepted") if key in one} for one in problems]
    except (ValueError, TypeError, KeyError, AttributeError):
        return RefusedError(502, "model_failed", "The model refused, and did not say why.")
    return RefusedError(400, "refused_by_model", sentence, fields)


def unavailable(sentence: str) -> RefusedError:
    return RefusedError(503, "unavailable", f"{sentence}; try again in a few seconds.", retry_after=5)


def price(said: bytes) -> dict[str, Any]:
    """What is answered, of what the model said. Raises RefusedError (502) when that is no price."""
    try:
        answer = json.loads(said)
    except ValueError:
        answer = None
    value = answer.get("predicted_price") if isinstance(answer, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RefusedError(502, "no_price", "The model's answer is not a price.")
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "predicted_price": value,
        "model_version": str(answer.get("model_version", "")),
        "timestamp": str(answer.get("timestamp") or now),
    }


def shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f'{text[: SHOWN_CHARACTERS - 2]}…"'


def figure(value: float) -> str:
    return f"{value:g}" if value % 1 else f"{value:.0f}"


def where(error: BaseException) -> str:
    """The line of ours it came from; its text might repeat what was asked."""
    trace, line = error.__traceback__, 0
    while trace:
        if trace.tb_frame.f_code.co_filename == __file__:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{Path(__file__).name}:{line}"
