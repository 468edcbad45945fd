"""Predictions for who asks our own server instead of the published API: checked and worded by the very same code."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from trainmaster.aws.failures import is_missing
from trainmaster.endpoints.api.plan import SOURCE, accepted_ranges
from trainmaster.endpoints.api.stack import served_artifact
from trainmaster.endpoints.models.package import inspect_model
from trainmaster.training.desk import Client

JSON = "application/json"
LOOKED_AT_SECONDS = 30.0
"""How long an endpoint is taken to serve the artifact it served; another's ranges are then checked by the model itself alone."""
WAIT_SECONDS = 10.0
"""How long those who ask at once wait for the one who reads what the model accepts."""

Accepted = Mapping[str, tuple[float, float]]


@cache
def published_code() -> ModuleType:
    """The handler of the published API. Its `RefusedError` says status, sentence and fields of what is no price."""
    spec = importlib.util.spec_from_file_location("trainmaster_predict_handler", SOURCE / "handler.py")
    assert spec is not None  # noqa: S101 - it is ours
    assert spec.loader is not None  # noqa: S101
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where its dataclasses look for it
    spec.loader.exec_module(module)
    return module


@dataclass
class Predictions:
    """Prices by the models of some endpoints, whose ranges are read from the artifacts they serve, each once."""

    client: Client
    runtime: Callable[[], Any]
    """A client of `sagemaker-runtime` that answers within half a minute or gives up."""
    _served: dict[str, tuple[float, str]] = field(default_factory=dict, init=False)
    _ranges: dict[str, Accepted] = field(default_factory=dict, init=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False)

    def price(self, endpoint: str, body: bytes, content_type: str) -> dict[str, Any]:
        """Of one house, as JSON. Raises the handler's RefusedError, ModelRefusedError, and botocore's of the Describes."""
        code = published_code()
        event = {"headers": {"content-type": content_type}, "body": b64encode(body).decode(), "isBase64Encoded": True}
        sent = code.read(event)
        house = code.checked(sent, self._accepted(endpoint))
        return dict(code.price(self._answer(endpoint, house)))

    def _accepted(self, endpoint: str) -> Accepted:
        if not self._turn.acquire(timeout=WAIT_SECONDS):  # of many who ask first, one reads the artifact
            raise published_code().unavailable("What the model accepts is being read")
        try:
            at, uri = self._served.get(endpoint, (float("-inf"), ""))
            if time.monotonic() - at > LOOKED_AT_SECONDS:
                uri = self._artifact(endpoint)
                self._served[endpoint] = time.monotonic(), uri
            if uri not in self._ranges:
                package = inspect_model(self.client("s3"), uri)
                self._ranges[uri] = accepted_ranges(package.card, package.uri)
            return self._ranges[uri]
        finally:
            self._turn.release()

    def _artifact(self, endpoint: str) -> str:
        try:
            return served_artifact(self.client("sagemaker"), endpoint)
        except ClientError as error:
            if not is_missing(error):
                raise
            raise published_code().RefusedError(404, "no_endpoint", "There is no such model in service.") from error

    def _answer(self, endpoint: str, house: Mapping[str, float]) -> bytes:
        code = published_code()
        try:
            answer = self.runtime().invoke_endpoint(
                EndpointName=endpoint, ContentType=JSON, Accept=JSON, Body=json.dumps(house).encode()
            )
            said: bytes = answer["Body"].read()
        except ClientError as error:
            raise code.refused_by_aws(error) from error
        except ReadTimeoutError as error:
            raise code.RefusedError(504, "timed_out", "The model did not answer in time.") from error
        except (ConnectTimeoutError, EndpointConnectionError) as error:
            raise code.unavailable("The model cannot be reached") from error
        except BotoCoreError as error:  # the connection was cut
            raise code.RefusedError(502, "no_answer", "The model's answer was lost on its way.") from error
        return said
