"""The one address of the embedded AWS: takes each request to the service it is for, and lets none fail without AWS's shape."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from waitress.channel import ClientDisconnected
from werkzeug.wrappers import Request, Response

from trainmaster.embedded import log_searches, policies
from trainmaster.embedded.calls import Call
from trainmaster.embedded.control import Control
from trainmaster.embedded.faults import Faults
from trainmaster.embedded.other_services import OtherServices
from trainmaster.embedded.role_journal import RoleJournal
from trainmaster.embedded.sagemaker import wire
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.api import SageMakerApi
from trainmaster.embedded.sagemaker.serving.invocation import Invocation, InvocationAnswer
from trainmaster.embedded.sagemaker.wire import AwsError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_log = logging.getLogger(__name__)

Invoke = Callable[[str, Invocation], InvocationAnswer]


@dataclass(frozen=True)
class Front:
    """A WSGI application. Its errors are always AWS's, in the protocol of the call; tracebacks go to the log."""

    account: Account
    sagemaker: SageMakerApi
    invoke: Invoke
    others: OtherServices
    roles: RoleJournal
    faults: Faults
    control: Control

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        if request.path.startswith("/_trainmaster/"):
            return self.control.answer(request)(environ, start_response)
        call = Call.of(request)
        try:
            response = self._answer(call)
        except AwsError as error:
            response = call.refused(error)
        except ClientDisconnected:
            raise
        except Exception:  # noqa: BLE001 — whatever else went wrong is ours; the client must be told in its own protocol
            _log.exception("%s %s failed", call.service, call.operation or request.path)
            response = call.refused(AwsError("InternalFailure", "The embedded AWS failed; see its log.", status=500))
        if not {"x-amzn-requestid", "x-amz-request-id"} & {name.lower() for name, _ in response.headers}:
            response.headers["x-amzn-RequestId"] = str(uuid.uuid4())
        return response(environ, start_response)

    def _answer(self, call: Call) -> Response:
        if not call.service and not self.others.allows_unsigned(call):
            raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", status=403)
        self._suffer(call)
        if call.service == "s3":
            raise AwsError("InvalidRequest", f"S3 is at {self.account.s3_endpoint_url}. Set AWS_ENDPOINT_URL_S3 to it.")
        if call.service == "sagemaker":
            return self._sagemaker(call)
        if call.service == "iam" and call.operation == "SimulatePrincipalPolicy":
            return policies.simulate_principal_policy(self.account, call)
        if call.service == "logs" and call.operation == "FilterLogEvents":
            call = log_searches.by_names(self.account, call)
        response = self.others.answer(call)
        self.roles.note(call, response)
        return response

    def _suffer(self, call: Call) -> None:
        fault = self.faults.take(call.operation or call.request.path)
        if fault is None:
            return
        time.sleep(fault.latency)
        if fault.reset:
            raise ClientDisconnected
        if fault.error:
            raise AwsError(fault.error, fault.message, status=fault.status)

    def _sagemaker(self, call: Call) -> Response:
        if call.target == "SageMaker":
            answer = self.sagemaker.answer(call.operation, call.request.get_data())
            return Response(json.dumps(answer), content_type="application/x-amz-json-1.1")
        if call.operation == "InvokeEndpoint":
            return self._invoke(call)
        what = call.operation or f"{call.request.method} {call.request.path}"
        raise AwsError("NotImplementedException", f"The embedded AWS does not have sagemaker:{what}.", status=501)

    def _invoke(self, call: Call) -> Response:
        headers, body = call.request.headers, call.request.get_data()
        if len(body) > _LARGEST_INVOCATION:
            raise AwsError(
                "ValidationError",
                f"The body has {len(body)} bytes; InvokeEndpoint takes {_LARGEST_INVOCATION} at most.",
            )
        if lacking := [name for name in _NOT_INVOKED if name in headers]:
            raise AwsError("NotImplementedException", f"The embedded AWS does not honour {lacking[0]}.", status=501)
        answer = self.invoke(
            call.endpoint,
            Invocation(
                body=body,
                content_type=headers.get("Content-Type", ""),
                accept=headers.get("Accept", ""),
                target_variant=headers.get("X-Amzn-SageMaker-Target-Variant"),
                custom_attributes=headers.get("X-Amzn-SageMaker-Custom-Attributes"),
                inference_id=headers.get("X-Amzn-SageMaker-Inference-Id"),
            ),
        )
        response = Response(answer.body, content_type=answer.content_type)
        response.headers["x-Amzn-Invoked-Production-Variant"] = answer.invoked_variant
        if answer.custom_attributes is not None:
            response.headers["X-Amzn-SageMaker-Custom-Attributes"] = answer.custom_attributes
        return response


_NOT_INVOKED = (
    "X-Amzn-SageMaker-Inference-Component",
    "X-Amzn-SageMaker-Target-Container-Hostname",
    "X-Amzn-SageMaker-Target-Model",
)
_LARGEST_INVOCATION: int = wire.service_model("sagemaker-runtime").shape_for("BodyBlob").metadata["max"]
