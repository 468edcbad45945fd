"""Roles and policies made by users, kept over a restart: moto's memory ends with the process."""

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

_SIGNED = Headers(
    {"Authorization": "AWS4-HMAC-SHA256 Credential=replayed/20200101/us-east-1/iam/aws4_request, Signature=none"}
)
_KEPT = re.compile(r"(Create|Delete|Put|Attach|Detach|Update|Set|Tag|Untag)\w*(Role|Policy)\w*")


class RoleJournal:
    """Every call that changed a role or policy, in order, to be made again. Ids and dates become new ones."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def note(self, call: Call, response: Response) -> None:
        """Remember the call when it is of that kind and succeeded."""
        if call.service == "iam" and response.status_code == 200 and _KEPT.fullmatch(call.operation):
            with self._lock, self._path.open("a") as file:
                # The line break comes first, so that one cut short by a kill spoils no other.
                file.write("\n" + json.dumps(call.request.get_data(as_text=True)))

    def replay(self, services: OtherServices) -> None:
        """Make all remembered calls again. One that was being written when the process was killed is left out."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        for line in filter(None, lines):
            try:
                body = json.loads(line)
            except ValueError:
                _log.warning("a call in %s cannot be read: %s", self._path, line)
                continue
            environ = EnvironBuilder(
                method="POST", data=body, content_type="application/x-www-form-urlencoded", headers=_SIGNED
            ).get_environ()
            services.answer(Call.of(Request(environ)))
