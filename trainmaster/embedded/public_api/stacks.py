"""CloudFormation's changes of stacks: carried out by moto, rolled back where a resource fails, and made again after a restart."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.parsing import OutputMap
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from trainmaster.embedded.calls import Call
from trainmaster.embedded.other_services import OtherServices
from trainmaster.embedded.public_api.stack_resources import Deployment, Ground
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import AwsError

if TYPE_CHECKING:
    from moto.cloudformation.models import Stack

_log = logging.getLogger(__name__)

_SCOPE = "Credential=replayed/20200101/{region}/cloudformation/aws4_request"


class Stacks:
    """One change at a time; each is remembered once it is done."""

    def __init__(self, account: Account, others: OtherServices, journal: Path) -> None:
        Ground.account = account
        self._account, self._others = account, others
        self._path, self._lock = journal, threading.Lock()

    def answer(self, call: Call) -> Response:
        """moto's answer. A stack whose resource cannot be made is rolled back, as on AWS, where the call itself succeeds."""
        with self._lock:
            response = self._done(call)
            Deployment.record()
            if response.status_code == 200:
                _append(self._path, call.request.get_data(as_text=True))
            return response

    def replay(self) -> None:
        """Make all remembered changes again. Needs S3, where the code of functions lies."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        scope = _SCOPE.format(region=self._account.region)
        headers = Headers({"Authorization": f"AWS4-HMAC-SHA256 {scope}, Signature=none"})
        for line in filter(None, lines):
            try:
                body = json.loads(line)
            except ValueError:
                _log.warning(
                    "a call in %s cannot be read", self._path
                )  # it was being written when the process was killed
                continue
            environ = EnvironBuilder(
                method="POST", data=body, content_type="application/x-www-form-urlencoded", headers=headers
            ).get_environ()
            self._done(Call.of(Request(environ)))
            Deployment.record()

    def _done(self, call: Call) -> Response:
        name = call.parameters.get("StackName", [""])[0]
        before = self._found(name)
        kept = (before.template, dict(before.parameters), len(before.events)) if before else None
        try:
            response = self._others.answer(call)
            why = response.get_data(as_text=True)
            if response.status_code < 400:
                return response
        except AwsError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a resource raised is why its stack failed
            response, why = None, str(error) or type(error).__name__
        stack = self._found(name)
        if stack is None or call.operation == "DeleteStack" or len(stack.events) == (kept[2] if kept else 0):
            if response is None:
                raise AwsError("InternalFailure", why, status=500)
            return response  # the call was refused, and nothing begun
        _log.warning("stack %s failed: %s", name, why)
        if kept is None:
            self._roll_back_creation(stack, why)
        else:
            self._roll_back_update(stack, kept[0], kept[1], why)
        return _accepted(call.operation, stack.stack_id)

    def _found(self, name: str) -> Stack | None:
        stacks = cloudformation_backends[self._account.account_id][self._account.region].stacks
        return next((stack for stack in stacks.values() if name in (stack.name, stack.stack_id)), None)

    @staticmethod
    def _roll_back_creation(stack: Stack, why: str) -> None:
        stack._add_stack_event("CREATE_FAILED", resource_status_reason=why)
        stack.resource_map.delete()
        stack.resource_map._resource_json_map = {}  # what is looked up in a map of moto's is made there and then
        stack.output_map = OutputMap(stack.resource_map, {}, stack.stack_id)
        stack._add_stack_event("ROLLBACK_COMPLETE")
        stack.status = "ROLLBACK_COMPLETE"

    @staticmethod
    def _roll_back_update(stack: Stack, template: Any, parameters: dict[str, str], why: str) -> None:
        stack._add_stack_event("UPDATE_FAILED", resource_status_reason=why)
        told = len(stack.events)
        stack.update(template, stack.role_arn, parameters=parameters)
        del stack.events[told:]  # moto tells of it as of an update somebody asked for
        stack._add_stack_event("UPDATE_ROLLBACK_COMPLETE")
        stack.status = "UPDATE_ROLLBACK_COMPLETE"


def _append(path: Path, body: str) -> None:
    with path.open("a") as file:
        file.write("\n" + json.dumps(body))  # the break first: one cut short by a kill spoils no other


def _accepted(operation: str, stack_id: str) -> Response:
    return Response(
        f'<{operation}Response xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><{operation}Result>'
        f"<StackId>{escape(stack_id)}</StackId></{operation}Result></{operation}Response>",
        content_type="text/xml",
    )
