"""API Gateway's own addresses: `/restapis/{id}/{stage}/_user_request_/path`, for what is `https://{id}.execute-api…/{stage}/path` on AWS.

A request is routed, its key, rate, quota and size are checked, then a Lambda function is given it, or a mock answers. What is refused
on the way is answered by the API's gateway responses.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moto.apigateway.models import apigateway_backends
from werkzeug.wrappers import Request, Response

from trainmaster.embedded.public_api import refusals
from trainmaster.embedded.public_api.functions import Functions
from trainmaster.embedded.public_api.proxy_events import proxy_event
from trainmaster.embedded.public_api.refusals import RequestRefusedError
from trainmaster.embedded.public_api.stack_resources import Deployment
from trainmaster.embedded.public_api.throttling import Throttles
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import AwsError

if TYPE_CHECKING:
    from moto.apigateway.models import GatewayResponse, Integration, RestAPI, Stage
    from moto.apigateway.models import Method as MotoMethod

LARGEST_BODY = 10 << 20
AT_ONCE = 64
"""Requests of all APIs; each holds a thread of the front while its function waits for another."""
_FUNCTION = re.compile(r":lambda:path/[^/]+/functions/(?P<arn>.+)/invocations")


@dataclass(frozen=True)
class Route:
    """Where a request goes: a method of an API as one of its deployments has recorded it."""

    api: RestAPI
    stage: Stage
    path: str
    method: MotoMethod


@dataclass
class Gateway:
    """Answers what clients of published APIs ask, as API Gateway does."""

    account: Account
    functions: Functions
    _throttles: Throttles = field(default_factory=Throttles)
    _places: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE))

    def answer(self, request: Request, api_id: str, stage_name: str, path: str) -> Response:
        """Never raises for what a client sent, or a function did."""
        request_id = str(uuid.uuid4())
        backend = apigateway_backends[self.account.account_id][self.account.region]
        api = backend.apis.get(api_id)
        stage = api.stages.get(stage_name) if api else None
        if api is None or stage is None:
            response = refusals.answered(refusals.FORBIDDEN, {}, request_id)
        else:
            live = (api.resources, api.gateway_responses)
            resources, said = Deployment.recorded.get(str(stage.deployment_id), live)
            try:
                route = self._route(api, stage, resources, request.method, path)
                response = self._allowed(route, request, request_id)
            except RequestRefusedError as refused:
                response = refusals.answered(refused.refusal, _by_type(said), request_id)
        response.headers["x-amzn-RequestId"] = request_id
        response.headers["x-amz-apigw-id"] = request_id.replace("-", "")[:15] + "="
        return response

    @staticmethod
    def _route(api: RestAPI, stage: Stage, resources: Mapping[str, Any], verb: str, path: str) -> Route:
        for resource in resources.values():
            found = resource.resource_methods
            if resource.get_path() == (path.rstrip("/") or "/") and (method := found.get(verb) or found.get("ANY")):
                return Route(api, stage, resource.get_path(), method)
        raise RequestRefusedError(refusals.NO_SUCH_PATH)

    def _allowed(self, route: Route, request: Request, request_id: str) -> Response:
        key_id = self._key(route, request) if route.method.api_key_required else ""
        settings = route.stage.method_settings
        by_method = settings.get(f"{route.path[1:].replace('/', '~1')}/{request.method}") or settings.get("*/*", {})
        self._throttles.method((route.api.id, route.stage.name, route.path, request.method), by_method)
        if (request.content_length or 0) > LARGEST_BODY:
            raise RequestRefusedError(refusals.TOO_LARGE)
        integration = route.method.method_integration
        if integration is None:
            raise RequestRefusedError(refusals.MISCONFIGURED)
        if integration.integration_type == "MOCK":
            return _mocked(integration)
        if not self._places.acquire(blocking=False):
            raise RequestRefusedError(refusals.THROTTLED)
        try:
            return self._asked(integration, request, route, request_id, key_id)
        finally:
            self._places.release()

    def _key(self, route: Route, request: Request) -> str:
        """The id of the key that was sent. Raises RequestRefusedError when it opens no plan of this stage, or has used it up."""
        backend = apigateway_backends[self.account.account_id][self.account.region]
        sent = request.headers.get("x-api-key", "")
        key = next((each for each in backend.keys.values() if each.value == sent and each.enabled), None)
        place = {"apiId": route.api.id, "stage": route.stage.name}
        plans = [] if key is None else [plan for plan in backend.get_usage_plans(key.id) if place in plan.api_stages]
        if key is None or not plans:
            raise RequestRefusedError(refusals.NO_KEY)
        self._throttles.plan((plans[0].id, key.id), plans[0].throttle or {}, plans[0].quota or {})
        return str(key.id)

    def _asked(
        self, integration: Integration, request: Request, route: Route, request_id: str, key_id: str
    ) -> Response:
        function = _FUNCTION.search(integration.uri or "")
        if integration.integration_type != "AWS_PROXY" or function is None:
            raise RequestRefusedError(refusals.MISCONFIGURED)
        event = proxy_event(
            request,
            path=route.path,
            request_id=request_id,
            api_id=route.api.id,
            stage=str(route.stage.name),
            account_id=self.account.account_id,
            key_id=key_id,
        )
        began = time.monotonic()
        try:
            invoked = self.functions.invoke(function["arn"], json.dumps(event).encode())
        except AwsError:
            raise RequestRefusedError(
                refusals.MISCONFIGURED
            ) from None  # no such function, or too many requests at once for it
        if time.monotonic() - began > float(integration.timeout_in_millis or 29_000) / 1000:
            raise RequestRefusedError(refusals.TOO_SLOW)
        if invoked.failed:
            raise RequestRefusedError(refusals.FUNCTION_FAILED)
        return _of_function(invoked.payload)


def _by_type(said: Mapping[str, GatewayResponse]) -> dict[str, refusals.Wording]:
    return {
        kind: refusals.Wording(each.status_code, each.response_parameters or {}, each.response_templates or {})
        for kind, each in said.items()
    }


def _of_function(payload: bytes) -> Response:
    """The answer a function made. Raises RequestRefusedError when it is not of the form API Gateway takes."""
    try:
        said = json.loads(payload)
        response = Response(said.get("body") or "", status=int(said["statusCode"]), content_type="application/json")
        for name, value in (said.get("headers") or {}).items():
            response.headers[name] = str(value)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise RequestRefusedError(refusals.FUNCTION_FAILED) from None
    return response


def _mocked(integration: Integration) -> Response:
    """The first response of a mock: what a preflight needs of it."""
    for status, answer in (integration.integration_responses or {}).items():
        response = Response(status=int(status))
        for name, value in (answer.response_parameters or {}).items():
            response.headers[name.removeprefix("method.response.header.")] = value.strip("'")
        return response
    raise RequestRefusedError(refusals.MISCONFIGURED)
