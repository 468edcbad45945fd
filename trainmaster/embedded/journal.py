"""What users made with moto and rely on for longer than its memory lasts: roles and policies, alarms, scaling."""

from __future__ import annotations

import json
import logging
import re
import threading
from pathlib import Path

from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from trainmaster.embedded.calls import Call
from trainmaster.embedded.other_services import OtherServices

_log = logging.getLogger(__name__)

_FORM = "application/x-www-form-urlencoded"
_KEPT = {
    "iam": re.compile(
        r"(Add|Remove|Create|Delete|Put|Attach|Detach|Update|Set|Tag|Untag)\w*(Role|Policy|InstanceProfile)\w*"
    ),
    "monitoring": re.compile(r"PutMetricAlarm|DeleteAlarms"),
    "application-autoscaling": re.compile(r"(Register|Deregister|Put|Delete)(ScalableTarget|ScalingPolicy)"),
}


class Journal:
    """Every call that changed one of those, in order, to be made again. Ids and dates become new ones."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def note(self, call: Call, response: Response) -> None:
        """Remember the call when it is of that kind and succeeded."""
        kept = _KEPT.get(call.service)
        if kept is None or response.status_code != 200 or not kept.fullmatch(call.operation):
            return
        request = call.request
        line = {
            "service": call.service,
            "target": request.headers.get("X-Amz-Target", ""),
            "type": request.headers.get("Content-Type", ""),
            "body": request.get_data(as_text=True),
        }
        with self._lock, self._path.open("a") as file:
            # The line break comes first, so that one cut short by a kill spoils no other.
            file.write("\n" + json.dumps(line))

    def replay(self, services: OtherServices) -> None:
        """Make all remembered calls again. One that was being written when the process was killed is left out."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        for line in filter(None, lines):
            try:
                noted = json.loads(line)
            except ValueError:
                _log.warning("a call in %s cannot be read: %s", self._path, line)
                continue
            if isinstance(noted, str):  # as long as there were roles and policies only
                noted = {"service": "iam", "target": "", "type": _FORM, "body": noted}
            services.answer(Call.of(Request(_environ(noted))))


def _environ(noted: dict[str, str]) -> dict[str, object]:
    scope = f"replayed/20200101/us-east-1/{noted['service']}/aws4_request"
    headers = Headers({"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, Signature=none"})
    if noted["target"]:
        headers["X-Amz-Target"] = noted["target"]
    return EnvironBuilder(
        method="POST", data=noted["body"], content_type=noted["type"] or _FORM, headers=headers
    ).get_environ()
