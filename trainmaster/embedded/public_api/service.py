"""The door to what stands behind a public API. moto's CloudFormation takes seconds to import: it is when it is first asked for."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING
from urllib.parse import unquote

from werkzeug.wrappers import Request, Response

from trainmaster.embedded.calls import Call
from trainmaster.embedded.other_services import OtherServices
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import AwsError

if TYPE_CHECKING:
    from trainmaster.embedded.public_api.gateway import Gateway
    from trainmaster.embedded.public_api.stacks import Stacks

_ADDRESS = re.compile(r"/restapis/(?P<api>[a-z0-9]+)/(?P<stage>[A-Za-z0-9_-]+)/_user_request_(?P<path>/.*)?")
_INVOCATION = re.compile(r"/2015-03-31/functions/(?P<name>[^/]+)/invocations")


class PublicApis:
    """Changes of stacks, `lambda:Invoke`, and requests to published APIs."""

    def __init__(self, account: Account, others: OtherServices) -> None:
        self._account, self._others = account, others
        self._journal, self._lock = account.state / "stacks.jsonl", threading.Lock()
        self._made: tuple[Stacks, Gateway] | None = None

    @staticmethod
    def concerns(call: Call) -> bool:
        """Whether a call is one of those that moto does not do, or not as AWS does it."""
        if call.service == "lambda":
            return _INVOCATION.fullmatch(call.request.path) is not None
        return call.service == "cloudformation" and call.operation in ("CreateStack", "UpdateStack", "DeleteStack")

    def answer(self, call: Call) -> Response:
        """Raises AwsError. What a function itself raises, or a stack fails by, is an answer."""
        stacks, gateway = self._loaded()
        if call.service == "cloudformation":
            response = stacks.answer(call)
            gateway.functions.forget_deleted()
            return response
        if (kind := call.request.headers.get("X-Amz-Invocation-Type", "RequestResponse")) != "RequestResponse":
            message = f"The embedded AWS does not have lambda:Invoke as {kind}."
            raise AwsError("NotImplementedException", message, status=501)
        name = call.request.path.split("/")[3]
        invoked = gateway.functions.invoke(unquote(name), call.request.get_data())
        response = Response(invoked.payload, content_type="application/json")
        response.headers["X-Amz-Executed-Version"] = "$LATEST"
        if invoked.failed:
            response.headers["X-Amz-Function-Error"] = "Unhandled"
        return response

    @staticmethod
    def is_published(request: Request) -> bool:
        """Whether the address is one of API Gateway's own, which need no signature."""
        return _ADDRESS.fullmatch(request.path) is not None

    def asked(self, request: Request) -> Response:
        """What a published API answers."""
        found = _ADDRESS.fullmatch(request.path)
        assert found
        return self._loaded()[1].answer(request, found["api"], found["stage"], found["path"] or "/")

    def replay(self) -> None:
        """Make the stacks of an earlier process again. Needs S3, where the code of their functions lies."""
        if self._journal.exists():
            self._loaded()[0].replay()

    def close(self) -> None:
        with self._lock:
            if self._made:
                self._made[1].functions.close()

    def _loaded(self) -> tuple[Stacks, Gateway]:
        with self._lock:
            if self._made is None:
                from trainmaster.embedded.public_api.functions import Functions  # noqa: PLC0415
                from trainmaster.embedded.public_api.gateway import Gateway  # noqa: PLC0415
                from trainmaster.embedded.public_api.stacks import Stacks  # noqa: PLC0415

                gateway = Gateway(self._account, Functions(self._account))
                self._made = Stacks(self._account, self._others, self._journal), gateway
            return self._made
