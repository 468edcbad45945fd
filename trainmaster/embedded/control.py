"""The calls no AWS has: health, faults and interruptions on command, under `/_trainmaster/`. Unsigned, plain JSON."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from werkzeug.wrappers import Request, Response

from trainmaster.embedded.faults import Faults, Rule
from trainmaster.embedded.sagemaker.wire import AwsError, Json
from trainmaster.embedded.service_quotas import Quotas
from trainmaster.embedded.tally import Tally

_EXAMPLES = (
    '{"training_job": "<name>"}, or {"app_of": "<space or user profile>", "minutes": <number>}, '
    'or {"quota": "<name>", "value": <number>}'
)


@dataclass(frozen=True)
class Control:
    """`interrupt` commands a spot interruption of the training job it is given; `leave` has nobody use the app of the space it is
    given, or of the user profile, for so many minutes."""

    state: Path
    faults: Faults
    tally: Tally
    quotas: Quotas
    interrupt: Callable[[str], None]
    leave: Callable[[str, float], None]
    isolation: str
    recovered: threading.Event
    decided: Callable[[], list[Json]]

    def answer(self, request: Request) -> Response:
        """200 with JSON, or 4xx with `{"error": …}`."""
        # What a page in a browser may send without asking first has an Origin, or the type of a form.
        if "Origin" in request.headers or (request.method == "POST" and request.mimetype != "application/json"):
            return _said({"error": "Post JSON as Content-Type: application/json, and not from a web page."}, 403)
        try:
            done = self._done(request)
        except ValidationError as error:
            return _said(
                {"error": "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())}, 400
            )
        except (ValueError, KeyError, TypeError):
            return _said({"error": f"Post {_EXAMPLES}."}, 400)
        except AwsError as error:
            return _said({"error": error.message, "code": error.code}, error.status)
        if done is None:
            return _said(
                {
                    "error": "There are GET health, tally, permissions; GET, POST, DELETE faults and quotas; POST interrupt, idle."
                },
                404,
            )
        return _said(done)

    def _done(self, request: Request) -> Json | None:
        match request.method, request.path.removeprefix("/_trainmaster/"):
            case "GET", "health":
                status = "ok" if self.recovered.is_set() else "starting"
                return {"status": status, "pid": os.getpid(), "state": str(self.state), "isolation": self.isolation}
            case "GET", "tally" | "permissions" as seen:
                return dict(self.tally.counts()) if seen == "tally" else {"asked": self.decided()}
            case "POST", "interrupt" | "idle" as command:
                self._command(command, json.loads(request.get_data()))
                return {}
            case "GET" | "POST" | "DELETE" as method, "quotas":
                if method == "POST":
                    asked = json.loads(request.get_data())
                    self.quotas.apply(str(asked["quota"]), float(asked["value"]))
                elif method == "DELETE":
                    self.quotas.reset()
                return {"quotas": self.quotas.applied()}
            case "GET" | "POST" | "DELETE" as method, "faults":
                if method == "POST":
                    self.faults.add(Rule.model_validate_json(request.get_data()))
                elif method == "DELETE":
                    self.faults.clear()
                return {"faults": [rule.model_dump() for rule in self.faults.rules()]}
            case _:
                return None

    def _command(self, command: str, asked: Json) -> None:
        if not self.recovered.is_set():
            raise AwsError("ServiceUnavailable", "The embedded AWS is starting; try again.", status=503)
        if command == "interrupt":
            self.interrupt(str(asked["training_job"]))
        else:
            self.leave(str(asked["app_of"]), float(asked["minutes"]))


def _said(content: Json, status: int = 200) -> Response:
    return Response(json.dumps(content) + "\n", status=status, content_type="application/json")
