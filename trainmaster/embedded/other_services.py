"""Every AWS service but S3 and SageMaker: moto's, with what it lacks told as AWS tells an error."""

from __future__ import annotations

import io

from moto.moto_server.werkzeug_app import (
    UNSIGNED_ACTIONS,
    UNSIGNED_REQUESTS,
    DomainDispatcherApplication,
    create_backend_app,
)
from werkzeug.wrappers import Response

from trainmaster.embedded import managed_policies
from trainmaster.embedded.calls import Call
from trainmaster.embedded.sagemaker.wire import AwsError


class OtherServices:
    """moto in this process; what it knows is gone when the process ends."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)

    @staticmethod
    def allows_unsigned(call: Call) -> bool:
        return call.target in UNSIGNED_REQUESTS or call.operation in UNSIGNED_ACTIONS

    def answer(self, call: Call) -> Response:
        """moto's answer; raises AwsError for a service or operation it does not have."""
        environ = call.request.environ
        environ["wsgi.input"] = io.BytesIO(call.request.get_data())
        if call.service and self._lacks(call):
            raise _lacking(f"the service {call.service}")
        if call.service == "iam" and call.operation.startswith("Attach"):
            managed_policies.make_known(call)
        try:
            response = Response.from_app(self._moto, environ, buffered=True)
        except NotImplementedError:
            raise _lacking(f"{call.service}:{call.operation or call.request.path}") from None
        except ModuleNotFoundError as error:
            raise _lacking(f"the service {call.service}: {error.name} is not installed") from None
        if response.status_code >= 400 and response.get_data()[:15].lower() in (b"<!doctype html>", b""):
            raise _lacking(f"{call.service}:{call.request.method} {call.request.path}")
        return response

    def _lacks(self, call: Call) -> bool:
        host = self._moto.infer_service_region_host(call.request.environ, call.request.path)
        return self._moto.get_backend_for_host(host) is None


def _lacking(what: str) -> AwsError:
    # 501 is the one server error that SDKs do not retry.
    return AwsError("NotImplementedException", f"The embedded AWS does not have {what}.", status=501)
