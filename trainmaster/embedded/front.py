"""The one address of the embedded AWS: takes each request to the service it is for, and lets none fail without AWS's shape."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from waitress.channel import ClientDisconnected
from werkzeug.wrappers import Request, Response

from trainmaster.embedded import autoscaling, builds, instances, log_searches, machine_images, metric_data, policies
from trainmaster.embedded.autoscaling import Autoscaling
from trainmaster.embedded.builds import Builds
from trainmaster.embedded.calls import Call
from trainmaster.embedded.cloudwatch import Alarms
from trainmaster.embedded.control import Control
from trainmaster.embedded.faults import Fault, Faults
from trainmaster.embedded.instances import Instances
from trainmaster.embedded.journal import Journal
from trainmaster.embedded.other_services import OtherServices
from trainmaster.embedded.permissions.role_sessions import RoleSessions
from trainmaster.embedded.pricing import PriceListApi
from trainmaster.embedded.public_api.service import PublicApis
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.api import SageMakerApi
from trainmaster.embedded.sagemaker.serving.invocation import Invocation, InvocationAnswer
from trainmaster.embedded.sagemaker.studio import entrance
from trainmaster.embedded.sagemaker.studio.entrance import Entrance
from trainmaster.embedded.sagemaker.wire import AwsError
from trainmaster.embedded.service_quotas import ServiceQuotasApi
from trainmaster.embedded.signatures import Signatures
from trainmaster.embedded.tally import Tally

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_log = logging.getLogger(__name__)

INVOCATIONS = 128
"""How many may be under way at once. The front has more threads, so that Describe is answered while models are slow."""
RECOVERED_WITHIN = 30.0
"""Seconds a call waits for what an earlier process left to be taken up; clients give up after 60."""

Invoke = Callable[[str, Invocation], InvocationAnswer]


@dataclass(frozen=True)
class Front:
    """A WSGI application. Its errors are always AWS's, in the protocol of the call; tracebacks go to the log."""

    account: Account
    sagemaker: SageMakerApi
    invoke: Invoke
    alarms: Alarms
    autoscaling: Autoscaling
    builds: Builds
    instances: Instances
    others: OtherServices
    journal: Journal
    quotas: ServiceQuotasApi
    faults: Faults
    control: Control
    tally: Tally
    signatures: Signatures
    role_sessions: RoleSessions
    public_apis: PublicApis
    entrance: Entrance
    recovered: threading.Event
    """Until it is set nothing that needs S3, jobs or endpoints is done: recovery would undo it."""
    _invocations: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(INVOCATIONS))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        port = f":{urlsplit(self.account.endpoint_url).port}".removesuffix(":80")  # as request.host leaves it out
        if request.host.lower() not in (f"127.0.0.1{port}", f"localhost{port}"):
            # A page in the user's browser may have had its own name resolve to this machine.
            error = AwsError(
                "AccessDeniedException", f"This is {self.account.endpoint_url}, not {request.host}.", status=403
            )
            return Call.of(request).refused(error)(environ, start_response)
        if request.path.startswith("/_trainmaster/"):
            return self.control.answer(request)(environ, start_response)
        if request.path.startswith(entrance.PREFIX):
            return self.entrance.answer(request)(environ, start_response)
        if self.public_apis.is_published(request):
            self.recovered.wait(RECOVERED_WITHIN)
            return self.public_apis.asked(request)(environ, start_response)
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
        if call.service == "s3":
            return self.role_sessions.of_s3(call)
        if call.service:
            self.signatures.check(call)
            self.role_sessions.judge(call)
        fault = self._suffer(call)
        if fault and fault.lost:
            with suppress(AwsError):
                self._served(call)
            raise ClientDisconnected
        return self._served(call)

    def _served(self, call: Call) -> Response:
        if call.service == "sagemaker":
            return self._sagemaker(call)
        if call.service == "pricing":
            return PriceListApi(self.account.state).answer(call)
        if call.service == "servicequotas" and self.quotas.concerns(call):
            return self.quotas.answer(call)
        if call.service == "iam" and call.operation == "SimulatePrincipalPolicy":
            return policies.simulate_principal_policy(self.account, call)
        if call.service == "logs" and call.operation == "FilterLogEvents":
            call = log_searches.by_names(self.account, call)
        return self._others(call)

    def _others(self, call: Call) -> Response:
        if self.public_apis.concerns(call):
            self._wait_until_recovered()
            return self.public_apis.answer(call)
        over_moto = {
            autoscaling.SERVICE: self.autoscaling.answer,
            builds.SERVICE: self.builds.answer,
            instances.SERVICE: self.instances.answer,
        }
        if call.service in over_moto:
            return over_moto[call.service](call, self._passed_on)
        if call.service == machine_images.SERVICE and (named := machine_images.answered(self.account, call)):
            return named
        if call.service == "monitoring" and call.operation.startswith("DescribeAlarms"):
            self.alarms.evaluate()
        if call.service == "monitoring" and (known := metric_data.answered(self.alarms.metrics, call)):
            return known
        return self._passed_on(call)

    def _passed_on(self, call: Call) -> Response:
        response = self.others.answer(call)
        self.journal.note(call, response)
        return response

    def _suffer(self, call: Call) -> Fault | None:
        operation = call.operation or call.request.path
        self.tally.call(operation)
        fault = self.faults.take(operation)
        if fault is None:
            return None
        self.tally.fault(fault.kind)
        time.sleep(fault.latency)
        if fault.reset:
            raise ClientDisconnected
        if fault.error:
            raise AwsError(fault.error, fault.message, status=fault.status)
        return fault

    def _sagemaker(self, call: Call) -> Response:
        if call.target == "SageMaker":
            self._wait_until_recovered()
            answer = self.sagemaker.answer(call.operation, call.request.get_data())
            return Response(json.dumps(answer), content_type="application/x-amz-json-1.1")
        if call.operation == "InvokeEndpoint":
            return self._invoke(call)
        what = call.operation or f"{call.request.method} {call.request.path}"
        raise AwsError("NotImplementedException", f"The embedded AWS does not have sagemaker:{what}.", status=501)

    def _wait_until_recovered(self) -> None:
        if not self.recovered.wait(RECOVERED_WITHIN):
            raise AwsError("ServiceUnavailable", "The embedded AWS is starting; try again.", status=503)

    def _invoke(self, call: Call) -> Response:
        headers = call.request.headers
        if lacking := [name for name in _NOT_INVOKED if name in headers]:
            raise AwsError("NotImplementedException", f"The embedded AWS does not honour {lacking[0]}.", status=501)
        invocation = Invocation(
            body=call.request.get_data(),
            content_type=headers.get("Content-Type", ""),
            accept=headers.get("Accept", ""),
            target_variant=headers.get("X-Amzn-SageMaker-Target-Variant"),
            custom_attributes=headers.get("X-Amzn-SageMaker-Custom-Attributes"),
            inference_id=headers.get("X-Amzn-SageMaker-Inference-Id"),
        )
        if not self._invocations.acquire(blocking=False):
            raise AwsError("ServiceUnavailable", f"{INVOCATIONS} invocations are under way; try again.", status=503)
        try:
            self._wait_until_recovered()
            answer = self.invoke(call.endpoint, invocation)
        finally:
            self._invocations.release()
        response = Response(answer.body, content_type=answer.content_type)
        response.headers["x-Amzn-Invoked-Production-Variant"] = answer.invoked_variant
        if answer.custom_attributes is not None:
            response.headers["X-Amzn-SageMaker-Custom-Attributes"] = answer.custom_attributes
        return response


_NOT_INVOKED = (
    "X-Amzn-SageMaker-Enable-Explanations",
    "X-Amzn-SageMaker-Inference-Component",
    "X-Amzn-SageMaker-Session-Id",
    "X-Amzn-SageMaker-Target-Container-Hostname",
    "X-Amzn-SageMaker-Target-Model",
)
